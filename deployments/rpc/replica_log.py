"""Refused requests in Serve's log: one line without a traceback for each.

Serve logs every exception of a call as an error with its traceback. A refusal is a normal answer,
and a client could fill the log with tracebacks.
"""

from __future__ import annotations

import logging

from embedder.core.errors import DeadlineExceeded, InvalidInput, Overloaded

SERVE_LOGGER = "ray.serve"

REFUSALS = (InvalidInput, Overloaded, DeadlineExceeded)
"""The errors by which a stage reports an invalid request, or too little capacity or time."""


class RefusalFilter(logging.Filter):
    """Turns the record of a refusal into one line at INFO; keeps all other records unchanged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record if its exception is a refusal; let every record pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, REFUSALS):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            record.msg, record.args = "refused a call: %s", (error,)
            record.exc_info = record.exc_text = None
        return True


def log_refusals_briefly() -> None:
    """Install the filter once on Serve's logger of this process."""
    logger = logging.getLogger(SERVE_LOGGER)
    if not any(isinstance(installed, RefusalFilter) for installed in logger.filters):
        logger.addFilter(RefusalFilter())

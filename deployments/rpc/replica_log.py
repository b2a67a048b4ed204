"""One line without a traceback in Serve's log for each request that a replica refuses.

Serve logs every exception of a call as an error with its traceback. A refusal is an answer, and a
client could fill the log with it.
"""

from __future__ import annotations

import logging

from embedder.core.errors import DeadlineExceeded, InvalidInput, Overloaded

SERVE_LOGGER = "ray.serve"

REFUSALS = (InvalidInput, Overloaded, DeadlineExceeded)
"""The errors that stages raise to say that the request is at fault, or came at a bad time."""


class RefusalFilter(logging.Filter):
    """Turns the record of a refusal into a line at INFO; leaves every other record as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where its exception is a refusal; every record passes."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, REFUSALS):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            record.msg, record.args = "refused a call: %s", (error,)
            record.exc_info = record.exc_text = None
        return True


def log_refusals_briefly() -> None:
    """Install the filter on Serve's logger of this process, once."""
    logger = logging.getLogger(SERVE_LOGGER)
    if not any(isinstance(one, RefusalFilter) for one in logger.filters):
        logger.addFilter(RefusalFilter())

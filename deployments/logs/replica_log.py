"""The log of a process of Serve: one record for each event, on one line, and no repetitions.

Serve logs every exception of a call as an error with its traceback. A refusal is a normal answer: a
client could fill the log with them. Records of the library and of other packages, which would reach
the log as text on ``stderr``, keep their level here.
"""

from __future__ import annotations

import logging
import logging.handlers
import threading
import time
from collections.abc import Callable

from deployments.logs.one_line import escaped, traceback_lines
from deployments.logs.repeats import Repeated, Repeats
from deployments.replica_context import replica_context
from deployments.settings.logs import LogSettings
from embedder.core.errors import DeadlineExceeded, InvalidInput, Overloaded
from embedder.core.storage_errors import ModelMismatch, StaleCollection

SERVE_LOGGER = "ray.serve"

REFUSALS = (InvalidInput, Overloaded, DeadlineExceeded, ModelMismatch, StaleCollection)
"""The errors by which a stage reports an invalid request, or too little capacity or time."""

EVENT = "event"
"""The attribute of a record that is written whatever came before it."""

TITLE = 200
"""Characters of a record by which its repetitions are recognised."""


class MessageFilter(logging.Filter):
    """Formats the message of every record once, for the filters that follow."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Format the message, with its arguments behind it where they are wrong; let it pass."""
        try:
            record.msg = record.getMessage()
        except Exception:  # noqa: BLE001 - a record with wrong arguments must not end its caller
            record.msg = f"{record.msg} {record.args!r}"
        record.args = None
        return True


class RefusalFilter(logging.Filter):
    """Leaves out the records of refusals, unless the level of the log is DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written; a refusal becomes one line at DEBUG."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, REFUSALS):
            return True
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        record.msg, record.args = "refused a call: %s", (error,)
        record.exc_info = record.exc_text = None
        return logging.getLogger(SERVE_LOGGER).isEnabledFor(logging.DEBUG)


class RepeatFilter(logging.Filter):
    """Leaves out repeated warnings and errors, and reports their number after ``period_s``."""

    def __init__(
        self,
        logger: logging.Logger,
        period_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._logger = logger
        self._period_s = period_s
        self._clock = clock
        # Reentrant: a garbage collection in the locked block may log, as of a lost asyncio task.
        self._lock = threading.RLock()
        self._repeats = Repeats(period_s)
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written; it has an `EVENT`, or is the first of its kind."""
        if record.levelno < logging.WARNING or hasattr(record, EVENT):
            return True
        error = record.exc_info[1] if record.exc_info else None
        title = record.getMessage()[:TITLE]
        key = (record.name, record.levelno, title, type(error), str(error)[:TITLE])
        title = title if error is None else f"{title} {type(error).__name__}: {error}"
        with self._lock:
            ended = self._repeats.ended(self._clock())
            is_written = self._repeats.admit(key, title[: 2 * TITLE], self._clock())
            if not is_written and self._timer is None:
                self._start_timer()
        self._write(ended)
        return is_written

    def report(self) -> None:
        """Write the numbers of the periods that are over."""
        with self._lock:
            self.close()
            ended = self._repeats.ended(self._clock())
            if self._repeats.is_counting:
                self._start_timer()
        self._write(ended)

    def close(self) -> None:
        """Stop the thread that waits for the end of a period; idempotent."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _start_timer(self) -> None:
        """Have `report` called: no record may follow that could report the number."""
        self._timer = threading.Timer(self._period_s, self.report)
        self._timer.daemon = True
        self._timer.start()

    def _write(self, ended: list[Repeated]) -> None:
        for one in ended:
            self._logger.warning(
                "repeated %d times within %.0f s: %s",
                *(one.count, self._clock() - one.began, one.title),
                extra={EVENT: "repeated", "count": one.count},
            )


class OneLineFilter(logging.Filter):
    """Puts the message of every record on one line, and indents its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; let it pass."""
        record.msg, record.args = escaped(record.getMessage().rstrip("\n")), None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = traceback_lines(record.exc_info[1])
        return True


class ForwardingHandler(logging.Handler):
    """Passes the records of other loggers to Serve's logger, with their level and traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record over, if Serve's logger writes records of its level."""
        logger = logging.getLogger(SERVE_LOGGER)
        try:
            if not logger.propagate and logger.isEnabledFor(record.levelno):
                logger.handle(record)
        except Exception:  # noqa: BLE001 - an error without a text must not end its caller
            self.handleError(record)


def replica_fields() -> dict[str, str]:
    """Return the names that Serve gives this replica in its log, none outside of Serve."""
    if (context := replica_context()) is None:
        return {}
    return {
        "application": context.app_name,
        "deployment": context.deployment,
        "replica": context.replica_id.unique_id,
        "component_name": "replica",
    }


def configure_replica_log(settings: LogSettings) -> None:
    """Set up the log of this process, if Serve writes it to a file, as in each of its actors.

    In any other process, as in a test, it changes nothing.
    """
    logger = logging.getLogger(SERVE_LOGGER)
    if any(isinstance(one, logging.handlers.MemoryHandler) for one in logger.handlers):
        install(logger, logging.getLogger(), settings)


def install(logger: logging.Logger, root: logging.Logger, settings: LogSettings) -> None:
    """Add the filters to Serve's logger, once, and have ``root`` forward its records to it."""
    if any(isinstance(one, OneLineFilter) for one in logger.filters):
        return
    logger.addFilter(MessageFilter())
    logger.addFilter(RefusalFilter())
    # A handler that cannot write, as on a full disk, would print that to stderr, which Serve sends
    # to the same handler, without end.
    logging.raiseExceptions = False
    logger.addFilter(RepeatFilter(logger, settings.repeat_period_s))
    logger.addFilter(OneLineFilter())
    root.addHandler(ForwardingHandler())
    logging.getLogger("embedder").setLevel(logger.getEffectiveLevel())

"""A refusal is one line in the log of a replica; a fault keeps its traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from deployments.rpc.replica_log import SERVE_LOGGER, log_refusals_briefly
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    StageUnavailable,
    UnknownCollection,
)


@pytest.fixture
def serve_logger() -> Iterator[logging.Logger]:
    """Yield Serve's logger with the filter of a replica, and put its own back at the end."""
    logger = logging.getLogger(SERVE_LOGGER)
    before = list(logger.filters)
    logger.filters.clear()
    log_refusals_briefly()
    log_refusals_briefly()
    assert len(logger.filters) == 1
    yield logger
    logger.filters[:] = before


def _logged(logger: logging.Logger, caplog: pytest.LogCaptureFixture, error: Exception) -> str:
    """Log an exception as Serve does for a call, and return the text that a handler writes."""
    with caplog.at_level(logging.INFO, SERVE_LOGGER):
        try:
            raise error
        except Exception:
            logger.exception("Request failed.")
    (record,) = caplog.records
    return logging.Formatter("%(levelname)s %(message)s").format(record)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("input[3]", "must not be empty"),
        LimitExceeded("input", "items", 9, 8),
        UnknownCollection("name", "c"),
        Overloaded(2.0),
        DeadlineExceeded("Encoder"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_is_one_line_without_a_traceback(
    serve_logger: logging.Logger, caplog: pytest.LogCaptureFixture, error: EmbedderError
) -> None:
    line = _logged(serve_logger, caplog, error)

    assert line == f"INFO refused a call: {error}"


@pytest.mark.parametrize(
    "error",
    [BackendFailure("broken"), StageUnavailable("Encoder", "lost"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_keeps_its_traceback(
    serve_logger: logging.Logger, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    written = _logged(serve_logger, caplog, error)

    assert written.startswith("ERROR Request failed.\nTraceback")

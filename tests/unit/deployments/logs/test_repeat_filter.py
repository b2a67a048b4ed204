"""The filter of repetitions: the thread that reports them, and records within records."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable

import pytest

from deployments.logs.replica_log import RepeatFilter
from tests.unit.manual_clock import ManualClock
from tests.unit.waiting import LONG_S


def test_the_number_is_reported_although_no_record_follows() -> None:
    clock, reported = ManualClock(), threading.Event()
    logger = logging.Logger("test")
    repeats = RepeatFilter(logger, 0.01, clock=clock)
    record = logging.LogRecord("test", logging.ERROR, "", 0, "failed", None, None)
    lines = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            reported.set()

    logger.addHandler(Reader())
    written = [repeats.filter(record), repeats.filter(record)]
    clock.now += 1.0
    assert reported.wait(60.0)
    repeats.close()

    assert written == [True, False]
    assert lines == ["repeated 1 times within 1 s: failed"]


def test_a_record_that_is_logged_while_another_is_filtered_hangs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A garbage collection can log at any line, as of a task that was lost."""
    logger, written = logging.Logger("test"), []
    repeats = RepeatFilter(logger, 60.0)
    logger.addFilter(repeats)
    admit = repeats._repeats.admit

    def log_and_admit(key: Hashable, title: str, now: float) -> bool:
        if title == "outer":
            logger.error("inner")
        return admit(key, title, now)

    def log() -> None:
        record = logging.LogRecord("test", logging.ERROR, "", 0, "outer", None, None)
        written.append(repeats.filter(record))

    monkeypatch.setattr(repeats._repeats, "admit", log_and_admit)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    thread.join(LONG_S)

    assert written == [True]

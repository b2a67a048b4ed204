"""The log of a replica, through Serve's own handlers: refusals, faults, repetitions and lines."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import time
from logging import FileHandler
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.logging_utils import StreamToLogger
from ray.serve.schema import EncodingType

from deployments.ingress.errors.statuses import STATUSES
from deployments.logs.replica_log import (
    REFUSALS,
    SERVE_LOGGER,
    ForwardingHandler,
    OneLineFilter,
    RefusalFilter,
    RepeatFilter,
    configure_replica_log,
    replica_fields,
)
from deployments.settings.logs import LogSettings
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
from tests.unit.deployments.logs.serve_log import serve_log

SERVE = logging.getLogger(SERVE_LOGGER)


def _fail(error: Exception) -> None:
    """Log an exception as Serve does for a call."""
    try:
        raise error
    except Exception:  # noqa: BLE001 - as Serve does
        SERVE.exception("Request failed.")


def test_in_a_process_that_serve_does_not_log_for_nothing_is_changed() -> None:
    before = SERVE.filters[:], logging.getLogger().handlers[:]
    configure_replica_log(LogSettings())

    assert (SERVE.filters, logging.getLogger().handlers) == before
    assert replica_fields() == {}


def test_every_error_of_a_client_that_a_stage_raises_is_a_refusal() -> None:
    stages = [kind for kind in STATUSES if kind.__module__.startswith("embedder.")]
    refused = {kind for kind in stages if STATUSES[kind].http < 500}

    assert {kind for kind in stages if issubclass(kind, REFUSALS)} == refused


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
def test_a_refusal_is_in_no_log(tmp_path: Path, error: EmbedderError) -> None:
    with serve_log(tmp_path) as log:
        _fail(error)
        assert log.lines() == []

        SERVE.setLevel(logging.DEBUG)
        _fail(error)
        (line,) = log.lines()

    assert line.startswith("DEBUG ")
    assert line.endswith(f"refused a call: {error}")


@pytest.mark.parametrize(
    "error",
    [BackendFailure("broken"), StageUnavailable("Encoder", "lost"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_has_its_traceback_once_and_then_its_number(
    tmp_path: Path, error: Exception
) -> None:
    with serve_log(tmp_path) as log:
        for _ in range(618):
            _fail(error)
        _repeat_filter().report()
        written = log.lines()
        _repeat_filter()._clock = lambda: time.monotonic() + LogSettings().repeat_period_s
        _repeat_filter().report()
        (*before, last) = log.lines()

    assert written == before
    assert written[0].startswith("ERROR ")
    assert written[0].endswith(" -- Request failed.")
    assert written[1] == "  Traceback (most recent call last):"
    assert sum("Traceback" in line for line in written) == 1
    assert last.startswith("WARNING ")
    assert "repeated 617 times within" in last
    assert f"Request failed. {type(error).__name__}: {error}" in last


def _repeat_filter() -> RepeatFilter:
    (found,) = [one for one in SERVE.filters if isinstance(one, RepeatFilter)]
    return found


def test_infos_and_the_lines_of_requests_are_never_left_out(tmp_path: Path) -> None:
    with serve_log(tmp_path) as log:
        for _ in range(3):
            SERVE.info("scaled")
            SERVE.error("request failed", extra={"event": "request failed"})

        assert len(log.lines()) == 6


def test_errors_with_another_class_or_message_are_written(tmp_path: Path) -> None:
    with serve_log(tmp_path) as log:
        for number in range(3):
            _fail(StageUnavailable("Encoder", f"replica {number} is lost"))
            _fail(BackendFailure("same"))
        titles = [line for line in log.lines() if not line.startswith("  ")]

    assert len(titles) == 2, "the line of each request has the reason of a lost stage"


def test_other_packages_keep_their_level_and_their_traceback(tmp_path: Path) -> None:
    with serve_log(tmp_path, EncodingType.JSON) as log:
        logging.getLogger("embedder.index.shard").info("opened %s", "a")
        logging.getLogger("embedder.index.shard").debug("not written")
        logging.getLogger("another").info("not written")
        try:
            raise OSError("full")
        except OSError:
            logging.getLogger("another").exception("cannot %s", "write")
        found = [(one["levelname"], one["message"]) for one in log.records()]
        text = log.records()[1]["exc_text"]

    assert found == [("INFO", "opened a"), ("ERROR", "cannot write")]
    assert text.startswith("  Traceback")
    assert text.endswith("  OSError: full")


def test_a_record_with_wrong_arguments_does_not_end_its_caller(tmp_path: Path) -> None:
    record = logging.LogRecord("another", logging.ERROR, "", 0, "%d", ("wrong",), None)
    with serve_log(tmp_path) as log:
        ForwardingHandler().handle(record)
        SERVE.error("%d", "of serve")
        SERVE.info("%s %s", "too few")
        lines = log.lines()

    assert [line.partition(" -- ")[2] for line in lines] == [
        "%d ('wrong',)",
        "%d ('of serve',)",
        "%s %s ('too few',)",
    ]


class FullDisk(io.StringIO):
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_fails_no_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve writes to its log what a handler prints to stderr, such as that it cannot write."""
    with serve_log(tmp_path):
        (memory,) = [one for one in SERVE.handlers if isinstance(one, MemoryHandler)]
        assert isinstance(memory.target, FileHandler)
        monkeypatch.setattr(memory.target, "stream", FullDisk())
        monkeypatch.setattr(sys, "stderr", StreamToLogger(SERVE, logging.INFO, sys.stderr))
        _fail(BackendFailure("broken"))
        SERVE.info("another")
        monkeypatch.undo()


@given(st.text(st.characters()))
def test_a_name_never_begins_a_line(name: str) -> None:
    record = logging.LogRecord("ray.serve", logging.ERROR, "", 0, "name %s", (name,), None)
    for one in (RefusalFilter(), OneLineFilter()):
        assert one.filter(record)

    assert "\n" not in record.getMessage()
    assert record.getMessage().encode()


@pytest.mark.parametrize("encoding", list(EncodingType))
def test_each_record_is_one_line(tmp_path: Path, encoding: EncodingType) -> None:
    names = ["a\nERROR 2026 forged", "\r\x85\u2028\u2029\x0b\x0c\x1c", "\ud800\udfff", "東京 🦀"]
    with serve_log(tmp_path, encoding) as log:
        for name in names:
            SERVE.error("collection %s", name)
        lines = log.lines()

    assert len(lines) == len(names)
    if encoding is EncodingType.JSON:
        assert [json.loads(line)["levelname"] for line in lines[:4]] == ["ERROR"] * 4
    else:
        assert all(line.startswith("ERROR ") for line in lines[:4])
        assert lines[3].endswith("collection 東京 🦀")

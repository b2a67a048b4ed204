"""The log file of Ray and HAProxy: bounded, private, continued; a full disk stops no service."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from deployments.logs.output_log import BYTES_VARIABLE, COUNT_VARIABLE, MAX_LINE, OutputLog
from embedder.core.errors import ConfigurationError
from tests.unit.waiting import eventually

SMALL = {BYTES_VARIABLE: "1000", COUNT_VARIABLE: "2"}


def _write(log: OutputLog, *lines: bytes) -> None:
    """Write lines as a process does, and wait until they are in the file."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as output:
        log.keep(output)
        with os.fdopen(writer, "wb") as process:
            process.writelines(lines)
        log.drain()


def test_lines_are_written_as_they_are_and_after_those_of_an_earlier_start(tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    for lines in ([b"one\n", b"100 % \xff\n"], [b"two\n", b"without an end"]):
        log = OutputLog(path)
        _write(log, *lines)
        log.close()

    assert path.read_text() == "one\n100 % \\xff\ntwo\nwithout an end\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_files_stay_below_their_bound_and_keep_the_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    log = OutputLog(path, SMALL)
    _write(log, *(b"line %d\n" % number for number in range(2000)))
    log.close()

    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "serve.log",
        "serve.log.1",
        "serve.log.2",
    ]
    assert all(one.stat().st_size <= 1000 for one in tmp_path.iterdir())
    assert path.read_text().endswith("line 1999\n")


def test_a_line_without_an_end_takes_no_more_memory_than_the_longest_line(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "log")
    _write(log, b"a" * (MAX_LINE + 1))
    log.close()

    assert list(map(len, (tmp_path / "log").read_text().splitlines())) == [MAX_LINE, 1]


def test_messages_of_haproxy_are_lines_without_their_priority(tmp_path: Path) -> None:
    path, log = tmp_path / "log", OutputLog(tmp_path / "log")
    with (
        log.listening(tmp_path / "socket"),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as haproxy,
    ):
        haproxy.sendto(
            b"<129>Nov 30 18:00:00 haproxy[7]: no server available!\n", f"{tmp_path}/socket"
        )
        haproxy.sendto(b"another", f"{tmp_path}/socket")
        assert eventually(lambda: path.read_text().endswith("another\n"))
    log.close()

    assert path.read_text() == "Nov 30 18:00:00 haproxy[7]: no server available!\nanother\n"


def test_what_is_no_file_is_written_to_and_never_renamed(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = OutputLog(path, SMALL)
    _write(log, b"a" * 5000 + b"\n", b"b\n")
    log.close()
    read = os.read(reader, 10_000)
    os.close(reader)

    assert read == b"a" * 5000 + b"\nb\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has this device")
def test_a_full_disk_is_reported_once_and_all_lines_are_taken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = OutputLog(Path("/dev/full"))
    _write(log, *(b"line\n" for _ in range(100_000)))
    log.close()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("embedder: cannot write /dev/full: ")
    assert line.endswith("No space left on device; what Ray prints is lost")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write .*/none/log: No such file"):
        OutputLog(tmp_path / "none" / "log")


def test_a_variable_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="RAY_ROTATION_MAX_BYTES is '10MB': must be"):
        OutputLog(tmp_path / "log", {**SMALL, BYTES_VARIABLE: "10MB"})

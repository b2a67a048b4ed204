"""The log file with the output of Ray and HAProxy: bounded, and continued by the next start.

HAProxy sends a message for each server that comes or goes, and for each request that it answers
itself, to a socket. Without a reader they are lost.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import partial
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from embedder.core.errors import ConfigurationError

MAX_LINE = 65_536
"""Bytes of a line; a longer one is written as several."""

BYTES_VARIABLE, COUNT_VARIABLE = "RAY_ROTATION_MAX_BYTES", "RAY_ROTATION_BACKUP_COUNT"

ROTATION = {BYTES_VARIABLE: str(10 * 2**20), COUNT_VARIABLE: "3"}
"""How Ray bounds each of its logs: the bytes of a file, and the files before it that are kept. Its
defaults allow 3 GB for each process."""

HAPROXY_SOCKET = "log.sock"

DRAIN_S = 5.0


class OutputLog(RotatingFileHandler):
    """A file of lines, for its owner alone, bounded as ``environment`` says.

    A full file becomes ``FILE.1``, and so on. A device, as ``/dev/stdout``, is only written to.

    Raises:
        ConfigurationError: the file cannot be written, or a variable is no number.
    """

    def __init__(self, path: Path, environment: Mapping[str, str] = ROTATION) -> None:
        self._failed = False
        self._keeping: threading.Thread | None = None
        max_bytes, count = (_number(environment, name) for name in ROTATION)
        if path.exists() and not path.is_file():
            max_bytes = 0  # a device is never renamed
        try:
            super().__init__(path, maxBytes=max_bytes, backupCount=count, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error

    def keep(self, output: IO[bytes]) -> None:
        """Write the lines of a pipe, in a thread, until its last writer has ended."""
        self._keeping = self._read(partial(output.readline, MAX_LINE), output)

    def drain(self) -> None:
        """Wait until the lines of a process that has ended are written."""
        if self._keeping is not None:
            self._keeping.join(DRAIN_S)

    @contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        """Write the messages that come to a socket of this path, in a thread."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            reader = self._read(lambda: _message(receiver.recv(MAX_LINE)), nullcontext())
            try:
                yield
            finally:
                receiver.shutdown(socket.SHUT_RDWR)  # the reader receives b""
                reader.join()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as in logging
        """Report the first line that cannot be written; the service goes on without its log."""
        if not self._failed:
            self._failed = True
            reason = f"cannot write {self.baseFilename}: {sys.exc_info()[1]}"
            sys.stderr.write(f"embedder: {reason}; what Ray prints is lost\n")

    def close(self) -> None:
        """Close the file; what a full disk does not take has been reported."""
        with suppress(OSError):
            super().close()

    def _read(
        self, next_line: Callable[[], bytes], source: AbstractContextManager[object]
    ) -> threading.Thread:
        def read() -> None:
            with source:
                while line := next_line():
                    text = line.decode(errors="backslashreplace").rstrip("\n")
                    self.handle(logging.makeLogRecord({"msg": text}))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return reader

    def _open(self) -> TextIOWrapper:
        path = self.baseFilename
        return open(path, "a", encoding="utf-8", opener=_private)


@contextmanager
def opened_log(path: Path, environment: Mapping[str, str], folder: str) -> Iterator[OutputLog]:
    """Yield a log that also receives the messages of the HAProxy whose files are in ``folder``.

    Raises:
        ConfigurationError: as `OutputLog`.
    """
    with closing(OutputLog(path, environment)) as log:
        with log.listening(Path(folder, HAPROXY_SOCKET)):
            yield log
        log.drain()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise ConfigurationError(f"{name} is {environment[name]!r}: must be a number") from None


def _message(datagram: bytes) -> bytes:
    """Return a message of syslog without the number of its priority."""
    return datagram.partition(b">")[2] if datagram.startswith(b"<") else datagram

"""A child process that answers each line of JSON with one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

STOP_S = 10.0


class NotMeasured(Exception):
    """What was to be measured is missing, did not start or broke; the text says why."""


class LineProcess:
    """A child with its errors in ``log``; its first line, ``about``, comes when it is ready.

    Raises:
        NotMeasured: it ended, or said nothing in time.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], start_s: float
    ) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
            )
        try:
            self.about: dict[str, Any] = self._read(start_s)
        except BaseException:
            self.close()
            raise

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            NotMeasured: the child ended, or did not answer in time and has been ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise NotMeasured(last_words(self._log)) from error
        return self._read(timeout_s)

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it ended with a question unread
            self._process.stdin.close()

    def __enter__(self) -> LineProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        overdue = threading.Timer(timeout_s, self._process.kill)
        overdue.start()
        line = self._process.stdout.readline()
        silent = overdue.finished.is_set()
        overdue.cancel()
        if not line:
            why = f"no answer in {timeout_s:.0f} s" if silent else last_words(self._log)
            raise NotMeasured(why)
        answer: dict[str, Any] = json.loads(line)
        return answer


def last_words(log: Path) -> str:
    """Return the last line of a log that says anything."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if line.strip(" │╰╯─╭╮")]
    return said[-1] if said else "it ended without a word"

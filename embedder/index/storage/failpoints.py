"""Fail points: named places where a test kills the process or makes a disk operation fail.

An environment variable, read at import, arms one: ``EMBEDDER_FAILPOINT=name:action``. The actions
are ``kill`` (SIGKILL), ``eio`` and ``enospc`` (an `OSError`), optionally with ``@n`` for the n-th
time the point is reached: ``commit.before:kill@3``.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from typing import Final

VARIABLE = "EMBEDDER_FAILPOINT"

POINTS: Final = (
    "commit.before",
    "commit.after",
    "apply.after",
    "seal.before_swap",
    "merge.before_swap",
    "merge.after_swap",
    "snapshot.after_write",
    "snapshot.after_fsync",
    "snapshot.after_rename",
    "snapshot.after_publish",
    "purge.before_commit",
    "recovery.after_open",
    "recovery.before_ready",
    "backup.before_publish",
    "restore.before_name",
    "reembed.before_switch",
    "close.before_clean",
)
"""All fail points."""

_ERRNOS = {"eio": errno.EIO, "enospc": errno.ENOSPC}


class _Armed:
    def __init__(self, text: str) -> None:
        self.name, _, rest = text.partition(":")
        self.action, _, turn = rest.partition("@")
        if self.name not in POINTS or self.action not in ("kill", *_ERRNOS):
            raise ValueError(f"{VARIABLE}={text!r}: no such point or action")
        self.turn = int(turn or 1)
        self._count = itertools.count(1)

    def fire(self) -> None:
        if next(self._count) != self.turn:
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(_ERRNOS[self.action], f"fail point {self.name}")


_armed: _Armed | None = _Armed(text) if (text := os.environ.get(VARIABLE)) else None


def arm(text: str | None) -> None:
    """Arm a point, given in the syntax of the environment variable; None disarms it.

    Raises:
        ValueError: the point or the action does not exist.
    """
    global _armed
    _armed = _Armed(text) if text else None


def reach(name: str) -> None:
    """Perform the armed action of this point; in production no point is armed.

    Raises:
        OSError: the point is armed with ``eio`` or ``enospc``.
    """
    if _armed is not None and _armed.name == name:
        _armed.fire()

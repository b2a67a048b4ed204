"""The processes of this user, as ``/proc`` shows them.

Keep the imports few, as `instances` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process, with the value of the environment variable that `user_processes` was asked for."""

    id: int
    session: int
    mark: str | None
    arguments: list[bytes]

    @property
    def is_titled_by_ray(self) -> bool:
        """Return whether Ray has replaced the command line by a title."""
        return self.arguments[0].startswith((b"ray::", b"ray-"))

    @property
    def ray_address(self) -> str | None:
        """Return the address of Ray if this process is a raylet, the process of a node."""
        return self._of_raylet("--gcs-address")

    @property
    def session_folder(self) -> Path | None:
        """Return the folder of Ray's session if this process is a raylet."""
        folder = self._of_raylet("--session_dir")
        return None if folder is None else Path(folder)

    def _of_raylet(self, flag: str) -> str | None:
        prefix = f"{flag}=".encode()
        if not self.arguments[0].endswith(b"/raylet"):
            return None
        given = [word[len(prefix) :] for word in self.arguments if word.startswith(prefix)]
        return given[0].decode() if given else None


def user_processes(variable: str) -> Iterator[Process]:
    """Yield the processes of this user, each with its value of an environment variable.

    Those of other users are left out, also for root: what their variables name is not to be read.
    """
    prefix = f"{variable}=".encode()
    for path in Path("/proc").glob("[0-9]*"):
        fields = _fields(path / "stat")
        if fields is None or fields[0] == "Z":
            continue
        with suppress(OSError):
            if path.stat().st_uid != os.getuid():
                continue
            environment = (path / "environ").read_bytes().split(b"\0")
            marks = [
                word[len(prefix) :].decode() for word in environment if word.startswith(prefix)
            ]
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            yield Process(int(path.name), int(fields[3]), marks[0] if marks else None, arguments)


def start_time(process: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it does not run.

    The kernel reuses process ids, but not together with the start time.
    """
    fields = _fields(Path(f"/proc/{process}/stat"))
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def _fields(path: Path) -> list[str] | None:
    """Return the fields of a ``stat`` file after the process name, which may hold any character."""
    try:
        return path.read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return None

"""The processes of a service that has just started: when each began, and what each has computed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A process by its command line; ``began_s`` counts from the first process of the service."""

    id: int
    command: str
    began_s: float
    core_s: float


def started_processes(ids: Iterable[int], root: Path = Path("/proc")) -> list[StartedProcess]:
    """Return the processes in the order of their start; those that have ended are left out."""
    found = []
    for process in ids:
        with suppress(OSError):
            words = (root / str(process) / "cmdline").read_bytes().split(b"\0")
            fields = (root / str(process) / "stat").read_text().rpartition(")")[2].split()
            core = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            found.append((int(fields[19]) / TICKS_PER_S, process, _name(words), core))
    first = min((began for began, *_ in found), default=0.0)
    return [
        StartedProcess(id_, name, began - first, core) for began, id_, name, core in sorted(found)
    ]


def _name(words: list[bytes]) -> str:
    """Return a short name: Ray's title of the process, its module, or its program."""
    program, *arguments = [word.decode(errors="replace") for word in words]
    if program.startswith("ray::"):
        return program.strip()
    if "-m" in arguments:
        return arguments[arguments.index("-m") + 1]
    scripts = [argument for argument in arguments if argument.endswith(".py")]
    return Path(scripts[0] if scripts else program).name

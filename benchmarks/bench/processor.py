"""The processor time of a service by its parts: the computation of the model, and all the rest.

Linux only: it is read from ``/proc``. The threads that compute have a higher niceness than the
others of their process (`embedder.inference.device_thread`).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

COMPUTE = "model"
"""The part of all threads that compute, in encoders and ingresses."""

PROXY, NODE = "HAProxy", "Ray"

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_REPLICA = re.compile(r"ray::ServeReplica:.*?:([A-Za-z]+)")
_NICENESS = 16
"""The field of ``stat`` behind the name of the program."""


def core_seconds(processes: Iterable[int], root: Path = Path("/proc")) -> dict[str, float]:
    """Return the core seconds of processes since their start, by part."""
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        folder = root / str(process)
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            whole, niceness = _stat(folder)
            computing = 0.0
            for thread in (folder / "task").iterdir():
                with suppress(OSError):
                    seconds, own = _stat(thread)
                    computing += seconds if own > niceness else 0.0
            found[COMPUTE] += computing
            found[_part(command)] += whole - computing
    return found


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the core seconds between two readings, by part."""
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def outside(seconds: Mapping[str, float]) -> float:
    """Return the core seconds of all parts but the computation of the model."""
    return sum(seconds.values()) - seconds.get(COMPUTE, 0.0)


def _stat(folder: Path) -> tuple[float, int]:
    """Return the core seconds and the niceness of a process or a thread."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[_NICENESS])


def _part(command: str) -> str:
    program = command.partition("\0")[0].strip()
    if replica := _REPLICA.match(program):
        return replica[1]
    return PROXY if program.endswith("/haproxy") else NODE

"""Processor time and memory of the processes of a service on this machine, by stage.

Linux only: both are read from ``/proc``.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROXY, NODE = "HAProxy", "node"
"""Names beside those of deployments; `NODE` is all else, also the caches and the index."""

STAGES = ("Ingress", "Tokenizer", "Encoder")
"""Deployments whose replicas are counted."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_REPLICA = re.compile(r"ray::ServeReplica:.*:(\w+)")
"""Ray's title of a replica; a pool and a method may follow the name of the deployment."""


@dataclass(frozen=True, slots=True)
class ProcessCosts:
    """Core seconds since the start, memory in bytes, and the number of processes, by stage.

    Memory that processes share counts for each in equal parts.
    """

    core_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    memory_bytes: Counter[str] = field(default_factory=Counter)
    count: Counter[str] = field(default_factory=Counter)


def process_costs(processes: Iterable[int], root: Path = Path("/proc")) -> ProcessCosts:
    """Return the costs of processes by their ids; those that have ended are left out."""
    costs = ProcessCosts()
    for process in processes:
        folder = root / str(process)
        with suppress(OSError):
            stage = _stage((folder / "cmdline").read_bytes().decode(errors="replace"))
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            memory = (folder / "smaps_rollup").read_text().split("\nPss:", 1)[1].split(None, 1)[0]
            costs.core_s[stage] += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
            costs.memory_bytes[stage] += int(memory) * 1024
            costs.count[stage] += 1
    return costs


def _stage(command: str) -> str:
    """Return the stage of a process by its command line."""
    program = command.partition("\0")[0].strip()
    if (replica := _REPLICA.match(program)) and replica[1] in STAGES:
        return replica[1]
    return PROXY if program.endswith("/haproxy") else NODE

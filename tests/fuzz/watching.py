"""What the processes of a service hold over time: memory and file descriptors."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from tests.cluster.service import RunningService

EVERY_S = 2.0
GROWTH = 1.15
GROWTH_BYTES = 96 * 2**20
GROWTH_FILES = 32
"""What a process may hold more at the end than after its warm-up: caches and indexes fill."""


class Watch:
    """Looks at every replica of a service from time to time."""

    def __init__(self, service: RunningService, deployments: tuple[str, ...]) -> None:
        self._service = service
        self._deployments = deployments
        self._seen: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)

    async def run(self, end_s: float) -> None:
        """Look until a time on ``time.monotonic``."""
        while time.monotonic() < end_s:
            for name in self._deployments:
                for pid in self._service.replicas(name):
                    if (held := _held(pid)) is not None:
                        self._seen[name, pid].append(held)
            await asyncio.sleep(EVERY_S)

    def growth(self) -> list[str]:
        """Return what grew from the second quarter to the last; the first one is the warm-up."""
        grown = []
        for (name, pid), samples in self._seen.items():
            quarter = len(samples) // 4
            if quarter == 0:
                continue
            for at, what, slack in ((0, "bytes", GROWTH_BYTES), (1, "files", GROWTH_FILES)):
                held = [sample[at] for sample in samples]
                before, after = median(held[quarter : 2 * quarter]), median(held[-quarter:])
                if after > before * GROWTH + slack:
                    grown.append(f"{name} ({pid}): {before:.0f} to {after:.0f} {what}")
        return grown

    def replaced(self) -> list[str]:
        """Return the deployments of which a replica was not there all the time."""
        counts = {
            name: {len(held) for (one, _), held in self._seen.items() if one == name}
            for name in self._deployments
        }
        return [name for name, lengths in counts.items() if max(lengths) - min(lengths) > 1]

    def summary(self) -> str:
        """Return first and last sizes of every process."""
        return "; ".join(
            f"{name} {held[0][0] >> 20} to {held[-1][0] >> 20} MiB, "
            f"{held[0][1]} to {held[-1][1]} files"
            for (name, _), held in sorted(self._seen.items())
        )


def _held(pid: int) -> tuple[int, int] | None:
    """Return the resident bytes of a process that no other has too, and its open files."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        private = sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")
        )
        return private * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None

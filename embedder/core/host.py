"""What this process may use of its machine: memory and cores, within the limits of its container.

Reads what Linux says of both and takes the whole machine where nothing is said. Knows nothing of
models.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Limit and use of a control group, as the second and the first version call them."""

_UNLIMITED = 2**60
"""Limits from here on are the first version's way to say that there is none."""


def available_bytes(device: str, root: Path = Path("/")) -> int:
    """Return how much memory of a device is free for this process, as far as can be known.

    ``root`` is where the files of a CPU's system are looked for.
    """
    if device.startswith("cuda"):
        import torch

        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    if device == "mps":
        import torch

        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    free = [_free_in(group) for group in _groups(root, "memory")]
    return min([_free_in_machine(root), *(left for left in free if left is not None)])


def return_freed_memory() -> None:
    """Hand memory that this process has freed back to the system, where the allocator keeps it.

    glibc keeps freed blocks for later: after a load these are copies that nobody wants again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy, at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = [_quota(group) for group in _groups(root, "cpu")]
    # A thread for a part of a core would only be stopped until the next period begins.
    return max(1, min([cores, *(int(quota) for quota in quotas if quota is not None)]))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Give the folders of the control groups that this process is in, up to the outermost.

    A container may see its own group as the outermost one.
    """
    stated = root / "proc/self/cgroup"
    for line in stated.read_text().splitlines() if stated.is_file() else []:
        _, names, path = line.split(":", 2)
        if names == "" or controller in names.split(","):
            mount = root / "sys/fs/cgroup" / (controller if names else "")
            inner = Path(path.lstrip("/"))
            yield from (mount / group for group in (inner, *inner.parents))


def _free_in(group: Path) -> int | None:
    for limit_name, use_name in _MEMORY_FILES:
        limit, use = _number(group / limit_name), _number(group / use_name)
        if limit is not None and use is not None and limit < _UNLIMITED:
            return max(0, limit - use + _reclaimable(group))
    return None


def _reclaimable(group: Path) -> int:
    """Return the bytes of files that are cached, of which the kernel lets go when asked."""
    stat = group / "memory.stat"
    lines = stat.read_text().splitlines() if stat.is_file() else []
    values = dict(line.split() for line in lines)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _quota(group: Path) -> float | None:
    stated = group / "cpu.max"
    if stated.is_file():
        quota, period = stated.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _free_in_machine(root: Path) -> int:
    meminfo = root / "proc/meminfo"
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    """Return the number in a file; None: there is no such file, or no number in it."""
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.lstrip("-").isdigit() else None

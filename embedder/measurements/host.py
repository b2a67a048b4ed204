"""The memory and cores that this process may use, within the limits of its container.

The limits are those of Linux control groups; without limits the whole machine counts.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Files with the limit and the use of a control group, in version 2 and in version 1."""

_UNLIMITED = 2**60
"""Version 1 of control groups states limits from here on where there is none."""


def available_bytes(device: str, root: Path = Path("/")) -> int:
    """Return the bytes of a device's memory that are free for this process, as far as known.

    ``root`` is the root of the file system from which the limits for a CPU are read.
    """
    if device.startswith("cuda"):
        import torch

        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    if device == "mps":
        import torch

        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    free = [_free_in(group) for group in _groups(root, "memory")]
    return min([_free_in_machine(root), *(size for size in free if size is not None)])


def return_freed_memory() -> None:
    """Return freed memory that the allocator still holds to the system.

    glibc keeps freed blocks for reuse; after a load these are copies of weights, never reused.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def hardware_name(device: str, processors: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of a GPU, or of the processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    for line in processors.read_text().splitlines() if processors.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = [_quota(group) for group in _groups(root, "cpu")]
    # Rounded down: a thread beyond the quota would be stopped until the next period begins.
    return max(1, min([cores, *(int(quota) for quota in quotas if quota is not None)]))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, from inner to outer."""
    listing = root / "proc/self/cgroup"
    for line in listing.read_text().splitlines() if listing.is_file() else []:
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
    """Return the bytes of cached files, which the kernel drops when memory is needed."""
    stat = group / "memory.stat"
    lines = stat.read_text().splitlines() if stat.is_file() else []
    values = dict(line.split() for line in lines)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _quota(group: Path) -> float | None:
    limits = group / "cpu.max"
    if limits.is_file():
        quota, period = limits.read_text().split()
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
    """Return the number in a file; None: the file is missing or holds no number."""
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.lstrip("-").isdigit() else None

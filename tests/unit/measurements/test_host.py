"""Limits of containers reduce the memory and cores of the machine; every file may be missing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from embedder.measurements.host import available_bytes, hardware_name, usable_cores

GIB = 2**30


def write(root: Path, **files: str) -> Path:
    """Write files under a root; two underscores in a name mean a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc__meminfo": "MemTotal: 16777216 kB\nMemAvailable:  8388608 kB\n"}
SECOND = {"proc__self__cgroup": "0::/pod/box\n"}
FIRST = {"proc__self__cgroup": "4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n"}


def test_without_limits_the_available_memory_counts(tmp_path: Path) -> None:
    assert available_bytes("cpu", write(tmp_path, **MEMINFO)) == 8 * GIB


def test_version_2_of_control_groups_limits_memory(tmp_path: Path) -> None:
    root = write(tmp_path, **MEMINFO, **SECOND)
    group = root / "sys/fs/cgroup/pod/box"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{3 * GIB}\n")
    (group / "memory.current").write_text(f"{2 * GIB}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")

    assert available_bytes("cpu", root) == 3 * GIB // 2


def test_the_smallest_limit_of_nested_groups_counts(tmp_path: Path) -> None:
    root = write(tmp_path, **MEMINFO, **SECOND)
    for folder, limit in (("pod/box", "max"), ("pod", str(2 * GIB)), ("", str(4 * GIB))):
        group = root / "sys/fs/cgroup" / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text(str(GIB))

    assert available_bytes("cpu", root) == GIB


def test_version_1_limits_memory_and_marks_no_limit_with_a_huge_number(tmp_path: Path) -> None:
    root = write(tmp_path, **MEMINFO, **FIRST)
    outer = root / "sys/fs/cgroup/memory"
    (outer / "box").mkdir(parents=True)
    (outer / "memory.limit_in_bytes").write_text("9223372036854771712")
    (outer / "memory.usage_in_bytes").write_text("1")
    (outer / "box/memory.limit_in_bytes").write_text(str(2 * GIB))
    (outer / "box/memory.usage_in_bytes").write_text(str(2 * GIB))
    (outer / "box/memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {GIB}")

    assert available_bytes("cpu", root) == GIB


def test_a_group_above_its_limit_has_no_free_memory(tmp_path: Path) -> None:
    root = write(tmp_path, **MEMINFO, **SECOND)
    group = root / "sys/fs/cgroup/pod"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("5")
    (group / "memory.current").write_text("9")

    assert available_bytes("cpu", root) == 0


def test_without_files_all_memory_counts(tmp_path: Path) -> None:
    assert available_bytes("cpu", tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf(
        "SC_PAGE_SIZE"
    )


def test_this_machine_has_some_memory_and_a_core() -> None:
    assert 0 < available_bytes("cpu") <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("10000000 100000", 8)],
)
def test_a_quota_limits_the_cores(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = write(tmp_path, **SECOND)
    (root / "sys/fs/cgroup/pod/box").mkdir(parents=True)
    (root / "sys/fs/cgroup/pod/box/cpu.max").write_text(quota)

    assert usable_cores(root) == expected


@pytest.mark.parametrize(("quota_us", "expected"), [("-1", 8), ("300000", 3)])
def test_a_quota_of_version_1_limits_the_cores(
    quota_us: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = write(tmp_path, **FIRST)
    group = root / "sys/fs/cgroup/cpu/box"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota_us)
    (group / "cpu.cfs_period_us").write_text("100000")

    assert usable_cores(root) == expected


def test_without_affinities_all_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)

    assert usable_cores(tmp_path) == 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator keeps nothing")
def test_returning_freed_memory_shrinks_the_process() -> None:
    """In a separate process, because the allocator of this one depends on other tests."""
    program = """
from pathlib import Path
from embedder.measurements.host import return_freed_memory

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kept = []
blocks = []
for _ in range(2000):
    blocks.append(bytearray(100_000))
    kept.append(bytearray(600))
del blocks
before = resident()
return_freed_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50 * 2**20, "of the 200 MB that were freed"


def test_a_processor_is_named_as_the_system_does(tmp_path: Path) -> None:
    processors = tmp_path / "cpuinfo"
    processors.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9754\n\nprocessor\t: 1\n")

    assert hardware_name("cpu", processors) == "AMD EPYC 9754"
    assert hardware_name("cpu", tmp_path / "missing") != ""

"""Processes are counted by the stage that their titles name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.operations.process_costs import NODE, PROXY, process_costs

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _process(root: Path, process: int, command: str, seconds: tuple[int, int], mib: int) -> None:
    folder = root / str(process)
    folder.mkdir()
    (folder / "cmdline").write_text(command)
    user, system = (TICKS_PER_S * one for one in seconds)
    (folder / "stat").write_text(f"{process} (a ) name) S {'0 ' * 10}{user} {system} 0 0\n")
    (folder / "smaps_rollup").write_text(f"0-f [rollup]\nRss: 1 kB\nPss:  {mib * 1024} kB\n")


def test_time_and_memory_are_summed_by_stage(tmp_path: Path) -> None:
    _process(tmp_path, 1, "ray::ServeReplica:embedder:Ingress   ", (2, 1), 100)
    _process(tmp_path, 2, "ray::ServeReplica:embedder:Encoder-gpu.encode", (3, 0), 200)
    _process(tmp_path, 3, "ray::ServeReplica:embedder:Encoder   ", (4, 0), 300)
    _process(tmp_path, 4, "ray::ServeReplica:embedder:EmbeddingCache-0", (5, 0), 400)
    _process(tmp_path, 5, "/venv/bin/haproxy\0-db\0-f", (6, 0), 10)
    _process(tmp_path, 6, "/venv/ray/raylet\0--x=/haproxy", (7, 0), 50)

    costs = process_costs([1, 2, 3, 4, 5, 6, 7], tmp_path)

    assert costs.core_s == {"Ingress": 3, "Encoder": 7, PROXY: 6, NODE: 12}
    assert costs.count == {"Ingress": 1, "Encoder": 2, PROXY: 1, NODE: 2}
    assert costs.memory_bytes == {
        stage: mib * 2**20
        for stage, mib in {"Ingress": 100, "Encoder": 500, PROXY: 10, NODE: 450}.items()
    }


def test_the_time_of_this_process_is_read() -> None:
    costs = process_costs([os.getpid()])

    assert costs.core_s[NODE] == pytest.approx(sum(os.times()[:2]), abs=0.1)
    assert costs.memory_bytes[NODE] > 2**20

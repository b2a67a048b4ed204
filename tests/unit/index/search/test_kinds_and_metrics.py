"""Every kind finds the nearest points under every metric it supports, before and after deletes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from embedder.index.contract.kinds import INVERTED, IndexKind
from embedder.index.contract.points import Metric
from tests.unit.index.faults.crash_processes import ROOT

MIN_RECALL = {IndexKind.FLAT: 1.0, IndexKind.HNSW: 0.95, IndexKind.AUTO: 0.95}
"""Lower bounds of recall@10; 0.9 for the other kinds."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.index.search.kinds_and_metrics",
            str(tmp_path_factory.mktemp("pairs")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    reports = [json.loads(line) for line in child.stdout.splitlines()]
    return {(one.pop("kind"), one.pop("metric")): one for one in reports}


@pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.value)
@pytest.mark.parametrize("kind", IndexKind, ids=lambda kind: kind.value)
def test_each_pair_is_refused_or_finds_the_nearest_points(
    kind: IndexKind, metric: Metric, reports: dict[tuple[str, str], Any]
) -> None:
    report = reports[kind.value, metric.value]
    if kind in INVERTED and metric is Metric.L1:
        assert kind.value in report["refused"]
        assert "l1" in report["refused"]
        return
    serving = report.pop("serving")

    assert serving == ("hnsw" if kind is IndexKind.AUTO else kind.value)
    assert min(report.values()) >= MIN_RECALL.get(kind, 0.9)
    assert report["few"] == 1.0

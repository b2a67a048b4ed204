"""Every kind that is offered works with every metric it is offered for, deleted points or not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from embedder.index.contract.kinds import INVERTED, IndexKind
from embedder.index.contract.points import Metric
from tests.unit.index.faults.process_pool import ROOT

LEAST = {IndexKind.FLAT: 1.0, IndexKind.HNSW: 0.95, IndexKind.AUTO: 0.95}
"""Recall@10 at least; 0.9 for the others."""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.index.kinds_and_metrics",
            str(tmp_path_factory.mktemp("pairs")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    told = [json.loads(line) for line in child.stdout.splitlines()]
    return {(one.pop("kind"), one.pop("metric")): one for one in told}


@pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.value)
@pytest.mark.parametrize("kind", IndexKind, ids=lambda kind: kind.value)
def test_a_pair_is_refused_by_name_or_finds_what_is_near(
    kind: IndexKind, metric: Metric, lines: dict[tuple[str, str], Any]
) -> None:
    told = lines[kind.value, metric.value]
    if kind in INVERTED and metric is Metric.L1:
        assert kind.value in told["refused"]
        assert "l1" in told["refused"]
        return
    serving = told.pop("serving")

    assert serving == ("hnsw" if kind is IndexKind.AUTO else kind.value)
    assert min(told.values()) >= LEAST.get(kind, 0.9)
    assert told["few"] == 1.0

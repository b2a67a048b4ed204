"""The benchmark of searches finds the same by every contender, on a collection that is small."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.index_http import clustered, main
from tests.unit.benchmarks.door_here import door_here


def test_a_small_run_finds_the_same_by_every_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    sizes = ["--points", "3000", "--width", "16", "--rounds", "2", "--requests", "2"]
    with door_here() as client:
        monkeypatch.setattr("httpx.Client", lambda **_: client)
        main([*sizes, "--url", "http://here"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert rows[0]["name"] == "bare FAISS"
    assert [len(row["queries_per_s"]) for row in rows] == [2, 2, 2]
    assert [row["same"] for row in rows] == pytest.approx([1, 1, 1], abs=1e-3)


def test_made_up_vectors_lie_around_their_centres() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((5, 64), np.float32)
    rows = clustered(random, centres, 200)
    near = (rows @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).max(axis=1)

    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert near.min() > 0.7

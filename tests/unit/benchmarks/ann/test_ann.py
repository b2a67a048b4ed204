"""The contenders are built once, find what brute force finds, and are compared round by round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ann import __main__ as ann
from benchmarks.ann.own_worker import BareFaiss, Ours
from benchmarks.peers.ann import TOP, Contender, answer, built
from embedder.core.vectors import normalize_rows
from embedder.index.contract.kinds import IndexKind

WIDTH = 8


def _prepared(folder: Path) -> Path:
    options = ann._options([str(folder), "--points", "300", "--width", "8", "--queries", "5"])
    ann.prepare(options)
    return folder


@pytest.mark.parametrize("contender", [Ours(IndexKind.HNSW), Ours(IndexKind.FLAT), BareFaiss()])
def test_a_contender_finds_what_brute_force_finds(contender: Contender, tmp_path: Path) -> None:
    folder = _prepared(tmp_path)
    assert built(contender, folder).keys() == {"build_s", "cpu_s"}
    contender.load(folder, WIDTH)
    queries = np.load(folder / "queries.npy")
    found = answer(contender, queries, {})["found"]
    right = np.load(folder / "nearest.npy").tolist()

    assert [{*row} for row in found] == [{*row} for row in right]
    assert answer(contender, queries, {"size": 2})["us"] > 0


def test_the_nearest_are_those_with_the_largest_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "ASKED", 2)
    chance = np.random.default_rng(1)
    points, queries = (
        normalize_rows(chance.standard_normal((n, WIDTH), np.float32)) for n in (40, 5)
    )
    right = np.argsort(-(queries @ points.T), axis=1)[:, :TOP]

    for found, expected in zip(ann.nearest(points, queries), right, strict=True):
        assert {*found.tolist()} == {*expected.tolist()}


def test_a_ratio_is_that_of_one_round() -> None:
    bare = {"build_s": 1.0, "cpu_s": 2.0, "bytes": 3e6, "recall": 1.0, "us": {1: [100.0, 300.0]}}
    ours = bare | {"us": {1: [200.0, 300.0]}}
    rows = {"faiss": bare, "ours-hnsw": ours}

    assert ann._ratios(rows, "ours-hnsw", 1) == "0.75 (0.50–1.00)"
    assert ann._ratios({"ours-hnsw": ours}, "ours-hnsw", 1) == ""


def test_a_peer_needs_nothing_of_this_project() -> None:
    assert "embedder" not in (ann.ROOT / "benchmarks/peers/ann.py").read_text()

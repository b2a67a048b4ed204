"""The contenders store the same points and find the same ones, and ratios are those of a round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stores.__main__ import KINDS, SHARES, main, measure
from benchmarks.stores.contenders import BareFaiss, OwnIndex
from benchmarks.stores.figures import Figures, Searches, ratios, table
from benchmarks.stores.points import TOP, Points
from embedder.index.contract.kinds import IndexKind
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.storage.postgres.postgres_server import running_server

WIDTH = 8


def _vectors(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, WIDTH), np.float32)


def test_the_index_and_bare_faiss_find_what_brute_force_finds(tmp_path: Path) -> None:
    settings = IndexSettings(directory=str(tmp_path))
    index = VectorIndex(settings, background=False)
    own = [OwnIndex("SQLite", kind, index) for kind in KINDS]
    bare = [BareFaiss(kind, WIDTH, settings) for kind in KINDS]
    vectors = _vectors(500)
    found = measure([*own, *bare], Points.of(vectors[:-5]), vectors[-5:], 50, 2)
    index.close()

    assert [(one.name, one.kind) for one in found[1:3]] == [
        ("SQLite", IndexKind.HNSW),
        ("bare FAISS", IndexKind.FLAT),
    ]
    for one in found:
        assert (one.loaded_per_s is None) is (one.name == "bare FAISS")
        assert list(one.searches) == list(SHARES)
        for searches in one.searches.values():
            assert [len(taken) for taken in searches.rounds] == [5, 5]
            assert searches.recall > 0.9


def test_the_right_answers_are_the_nearest_that_the_filter_keeps() -> None:
    points = Points.of(_vectors(40))
    (nearest,) = points.nearest(points.vectors[:1], 20)
    kept = [number for number in range(40) if points.values[number] < 20]
    unit = points.vectors / np.linalg.norm(points.vectors, axis=1, keepdims=True)

    assert nearest == {*sorted(kept, key=lambda number: -float(unit[number] @ unit[0]))[:TOP]}


def test_a_ratio_compares_medians_of_the_same_round() -> None:
    ours = Searches(1.0, [[1.0, 2.0, 9.0], [4.0, 4.0, 4.0], [3.0, 3.0, 3.0]])
    base = Searches(1.0, [[1.0, 1.0, 1.0], [8.0, 8.0, 8.0], [1.0, 1.0, 1.0]])

    assert ratios(ours, base) == (2.0, 0.5, 3.0)
    rows = [
        Figures("base", IndexKind.FLAT, searches={"all": base}),
        Figures("ours", IndexKind.FLAT, 1000.0, searches={"all": ours}),
    ]
    assert table(rows).splitlines()[2].endswith("2.00 (0.50–3.00)")
    assert "1,000" in table(rows).splitlines()[2]


def test_the_command_names_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    server = running_server().url("postgres")
    sizes = {"points": 200, "more": 100, "width": WIDTH, "queries": 3, "rounds": 1}
    status = main([*(f"--{name}={size}" for name, size in sizes.items()), f"--postgres={server}"])
    printed = capsys.readouterr()
    document = json.loads(printed.out.splitlines()[-1])

    assert status == 0
    assert "pgvector is left out: no --pgvector is given" in printed.err
    assert [one["name"] for one in document["figures"][::2]] == [
        "SQLite",
        "PostgreSQL",
        "bare FAISS",
    ]

"""The recall of every kind under filters, deletions and copies, on a few points."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.recall import KINDS, LEAST, METRIC, Figure, copies_figures, figures, main
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.segments.scoring import normalize
from embedder.settings.model import IndexSettings
from tests.unit.index.search.kinds_and_metrics import rows

QUERIES = 20
COPIES = 500
SMALL = {"points": 300, "width": 8, "queries": 3, "copies": 20, "kinds": "flat"}


def _vectors(count: int, seed: int) -> Vectors:
    return normalize(METRIC, np.hstack([rows(count, seed), rows(count, seed + 10)]))


@pytest.mark.parametrize("kind", KINDS)
def test_filters_deletions_and_copies_leave_the_recall_high(kind: IndexKind) -> None:
    # A graph is searched by its edges, and not exactly, where it has so many points.
    count = 8_000 if kind is IndexKind.HNSW else 3_000
    points, queries = _vectors(count, 1), _vectors(QUERIES, 2)
    settings = IndexSettings()
    found = [
        *figures(kind, points, queries, settings),
        *copies_figures(kind, points, COPIES, settings),
    ]

    assert len(found) == 14
    assert [str(figure) for figure in found if figure.share < figure.least] == []


def test_the_command_prints_a_line_for_each_figure_and_fails_below_a_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main([f"--{name}={value}" for name, value in SMALL.items()])
    lines = capsys.readouterr().out.splitlines()

    assert status == 0
    assert len(lines) == 15
    assert "MISSED" not in str(Figure(IndexKind.FLAT, "case", LEAST, LEAST, 1.0))
    assert "MISSED: at least 0.95" in str(Figure(IndexKind.FLAT, "case", 0.9, LEAST, 1.0))

"""A closed index of two collections, of which tests damage the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedder.index.contract.points import Metric, Points
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings

COUNT, WIDTH = 40, 4
ROWS = np.random.default_rng(5).normal(0, 1, (COUNT, WIDTH)).astype(np.float32)
NAMES = [f"point-{number:03}" for number in range(COUNT)]


def reopened(folder: Path) -> VectorIndex:
    """Open the index again, without work in the background."""
    return VectorIndex(small_settings(folder), background=False)


def written(folder: Path) -> Path:
    """Write collections "c" and "other", each of one saved segment; return the folder."""
    index = reopened(folder)
    for name in ("c", "other"):
        index.create(name, Metric.L2)
        index.upsert(name, Points(NAMES, ROWS, ["text"] * COUNT, [{"n": n} for n in range(COUNT)]))
        index.optimize(name)
        index.snapshot(name)
    index.close()
    return folder

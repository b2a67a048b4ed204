"""Use an index of each kind and metric in every way, and report the recall of its searches.

``python -m tests.unit.index.search.kinds_and_metrics`` runs in a process of its own, because FAISS
aborts the process on a pair of kind and metric that it does not support. It writes one JSON line
per pair: recall@10 with all points, with a fifth and with half of them deleted, after merging, and
after a restart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import scores
from tests.unit.index.small_index import merge_all, save, small_settings

COUNT, WIDTH, QUERIES, TOP = 1500, 16, 20, 10


def rows(count: int, seed: int) -> Vectors:
    """Return clustered vectors."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(0, 1, (20, WIDTH))
    noise = chance.normal(0, 0.4, (count, WIDTH))
    return (centres[chance.integers(0, 20, count)] + noise).astype(np.float32)


class Pair:
    """An index of one kind and metric, and its points."""

    def __init__(self, kind: IndexKind, metric: Metric, directory: Path) -> None:
        self.settings = small_settings(
            directory, delta_rows=500, min_indexed_rows=500, auto_hnsw_rows=500
        )
        self.metric = metric
        self.stored = rows(COUNT, 1)
        self.live = np.ones(COUNT, np.bool_)
        self.index = VectorIndex(self.settings, background=False)
        self.index.create("c", Spec(metric, kind=kind))
        names = [f"p{number}" for number in range(COUNT)]
        metadata = [{"n": number} for number in range(COUNT)]
        self.index.upsert("c", Points(names, self.stored, [None] * COUNT, metadata))
        merge_all(self.index, "c")

    def delete(self, numbers: range) -> None:
        """Delete some points; no merge follows."""
        self.index.delete_points("c", [f"p{number}" for number in numbers])
        self.live[numbers] = False

    def recall(self, fewer_than: int = COUNT) -> float:
        """Return recall@10 among the points with a number below ``fewer_than``."""
        condition = None if fewer_than == COUNT else parse({"n": {"$lt": fewer_than}})
        asked = rows(QUERIES, 2)
        answers = self.index.search(
            [Query("c", vector, TOP, filter=condition, include=()) for vector in asked]
        )
        right = 0
        for vector, hits in zip(asked, answers, strict=True):
            exact = scores(self.metric, vector, self.stored)
            exact[~self.live | (np.arange(COUNT) >= fewer_than)] = -np.inf
            nearest = np.argsort(-exact, kind="stable")[:TOP]
            assert len(hits) == TOP
            found = {int(hit.id[1:]): hit.score for hit in hits}
            assert all(abs(exact[number] - score) < 1e-4 for number, score in found.items())
            right += len(found.keys() & set(nearest.tolist()))
        return right / (TOP * QUERIES)

    def restart(self) -> None:
        """Save all segments, close the index and open it again."""
        save(self.index, "c")
        self.index.close()
        self.index = VectorIndex(self.settings, background=False)
        assert self.index.stats().recovery.points_from_store == 0


def use(kind: IndexKind, metric: Metric, directory: Path) -> dict[str, object]:
    """Return the serving kind and the recalls of one pair."""
    pair = Pair(kind, metric, directory)
    report: dict[str, object] = {
        "serving": pair.index.describe("c").serving,
        "whole": pair.recall(),
        "few": pair.recall(40),
        "many": pair.recall(900),
    }
    pair.delete(range(0, COUNT, 5))
    report["fifth"] = pair.recall()
    for first in (1, 3, 7):
        pair.delete(range(first, COUNT, 10))
    report["half"] = pair.recall()
    report["half_many"] = pair.recall(1200)
    pair.restart()
    report["restarted"] = pair.recall()
    pair.index.run_maintenance()
    assert pair.index.describe("c").deleted == 0
    report["merged"] = pair.recall()
    pair.restart()
    report["again"] = pair.recall()
    pair.index.close()
    return report


def main() -> None:
    """Use every pair of kind and metric."""
    for kind in IndexKind:
        for metric in Metric:
            pair = {"kind": kind.value, "metric": metric.value}
            sys.stderr.write(f"{json.dumps(pair)}\n")
            try:
                report = use(kind, metric, Path(sys.argv[1]) / f"{kind.value}-{metric.value}")
            except InvalidInput as error:
                report = {"refused": str(error)}
            sys.stdout.write(f"{json.dumps({**pair, **report})}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

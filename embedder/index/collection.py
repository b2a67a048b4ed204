"""One collection: points under string ids, and their projection for searching.

Safe to use from several threads: one lock, since FAISS must not be searched while it changes.
Knows nothing of texts' meaning; whoever calls has embedded them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedder.index.points import (
    CollectionInfo,
    Hit,
    Metric,
    Points,
    check_ids,
    check_metadata,
    check_vectors,
)
from embedder.index.projection import ExactProjection
from embedder.types import Vectors


@dataclass(frozen=True, slots=True)
class _Stored:
    id: str
    text: str | None
    metadata: dict[str, Any]


class Collection:
    """Named points under one metric; the first vector decides the width."""

    def __init__(self, name: str, metric: Metric) -> None:
        self.name = name
        self.metric = metric
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._stored: dict[int, _Stored] = {}
        self._projection: ExactProjection | None = None
        self._sequence = 0

    def describe(self) -> CollectionInfo:
        """Return what is known of the collection now."""
        with self._lock:
            width = self._projection.width if self._projection else None
            return CollectionInfo(
                self.name,
                self.metric,
                ExactProjection.kind,
                width,
                len(self._stored),
                self._sequence,
            )

    def upsert(self, points: Points) -> int:
        """Set all points or none, the last of an id winning, and return the sequence number.

        Raises:
            InvalidInput: an id or a vector cannot be stored; the error names the point.
        """
        check_ids(points.ids)
        check_metadata(points.metadata)
        names = [f"points[{row}].vector" for row in range(len(points.ids))]
        with self._lock:
            width = self._projection.width if self._projection else None
            check_vectors(points.vectors, width=width, metric=self.metric, names=names)
            if self._projection is None:
                self._projection = ExactProjection(self.metric, points.vectors.shape[1])
            last_rows = {name: row for row, name in enumerate(points.ids)}
            numbers = [self._number(name) for name in last_rows]
            rows = np.fromiter(last_rows.values(), np.intp, len(last_rows))
            self._projection.put(np.array(numbers, np.int64), points.vectors[rows])
            for number, (name, row) in zip(numbers, last_rows.items(), strict=True):
                self._stored[number] = _Stored(name, points.texts[row], points.metadata[row])
            self._sequence += 1
            return self._sequence

    def search(
        self, queries: Vectors, top_k: int, names: Sequence[str] | None = None
    ) -> list[list[Hit]]:
        """Return for every query the ``top_k`` nearest points, nearest first.

        ``names`` are what the caller calls the queries' vectors; each is ``vector`` without.

        Raises:
            InvalidVector: a query has the wrong width or cannot be placed.
        """
        with self._lock:
            width = self._projection.width if self._projection else None
            check_vectors(
                queries,
                width=width,
                metric=self.metric,
                names=names or ["vector"] * len(queries),
            )
            if self._projection is None:
                return [[] for _ in queries]
            scores, numbers = self._projection.search(queries, top_k)
            return [
                [
                    self._hit(number, score)
                    for number, score in zip(row_numbers, row_scores, strict=True)
                ]
                for row_numbers, row_scores in zip(numbers.tolist(), scores.tolist(), strict=True)
            ]

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _hit(self, number: int, score: float) -> Hit:
        stored = self._stored[number]
        distance = -score if self.metric in (Metric.L2, Metric.L1) else None
        return Hit(stored.id, score, distance, stored.text, stored.metadata)

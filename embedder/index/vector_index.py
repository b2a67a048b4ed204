"""The collections of one shard, by name.

Knows nothing of shards elsewhere, nor of who calls.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from embedder.errors import InvalidInput, UnknownCollection
from embedder.index.collection import Collection
from embedder.index.points import (
    MAX_TOP_K,
    CollectionInfo,
    Hit,
    Metric,
    Points,
    Query,
    check_name,
)


class VectorIndex:
    """Create, fill and search collections; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections: dict[str, Collection] = {}

    def create(self, name: str, metric: Metric) -> CollectionInfo:
        """Create a collection, or confirm one that is there with the same metric.

        Raises:
            InvalidInput: the name is not plain, or is taken by a collection of another metric.
        """
        check_name(name)
        with self._lock:
            collection = self._collections.setdefault(name, Collection(name, metric))
        if collection.metric is not metric:
            raise InvalidInput(
                "metric", f"is {metric.value}; {name!r} exists with {collection.metric.value}"
            )
        return collection.describe()

    def collections(self) -> list[CollectionInfo]:
        """Return what is known of every collection, by name."""
        with self._lock:
            collections = [self._collections[name] for name in sorted(self._collections)]
        return [collection.describe() for collection in collections]

    def describe(self, name: str) -> CollectionInfo:
        """Return what is known of a collection.

        Raises:
            UnknownCollection: there is none of this name.
        """
        return self._find(name).describe()

    def delete(self, name: str) -> None:
        """Delete a collection with all its points.

        Raises:
            UnknownCollection: there is none of this name.
        """
        with self._lock:
            if self._collections.pop(name, None) is None:
                raise UnknownCollection("collection", name)

    def upsert(self, name: str, points: Points) -> int:
        """Set points of a collection, creating it with the cosine if it is not there.

        Raises:
            InvalidInput: a name, an id or a vector cannot be stored; nothing was stored.
        """
        check_name(name)
        with self._lock:
            collection = self._collections.get(name)
            if collection is None:
                # Filled before it is seen: a refused request leaves no empty collection behind.
                collection = Collection(name, Metric.COSINE)
                sequence = collection.upsert(points)
                self._collections[name] = collection
                return sequence
        return collection.upsert(points)

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Answer several queries, those of one collection and ``top_k`` by one FAISS call.

        Raises:
            UnknownCollection: a query names a collection that is not there.
            InvalidInput: a query's vector or ``top_k`` cannot be answered.
        """
        alike: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        for row, query in enumerate(queries):
            if not 1 <= query.top_k <= MAX_TOP_K:
                raise InvalidInput("top_k", f"is {query.top_k}; it must be 1 to {MAX_TOP_K}")
            alike[query.collection, query.top_k, len(query.vector)].append(row)
        answers: list[list[Hit]] = [[] for _ in queries]
        for (name, top_k, _), rows in alike.items():
            vectors = np.stack([queries[row].vector for row in rows])
            names = [queries[row].field for row in rows]
            found = self._find(name).search(vectors, top_k, names)
            for row, hits in zip(rows, found, strict=True):
                answers[row] = hits
        return answers

    def _find(self, name: str) -> Collection:
        with self._lock:
            collection = self._collections.get(name)
        if collection is None:
            raise UnknownCollection("collection", name)
        return collection

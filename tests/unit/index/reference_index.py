"""The expected behaviour of an index: a dict in insertion order, searched by brute force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Hit, Metric, Query
from tests.unit.index.brute_force import TOLERANCE, scores
from tests.unit.index.contract.filter_oracle import matches

Stored = tuple[list[float], dict[str, Any], str | None]


class ReferenceIndex:
    """One collection: the vector, metadata and text of each id."""

    def __init__(self, metric: Metric, kind: IndexKind) -> None:
        self.metric = metric
        self.kind = kind
        self.stored: dict[str, Stored] = {}
        self.sequence = 0

    def put(self, stored: Mapping[str, Stored]) -> None:
        """Set points; a known point keeps its position."""
        self.stored.update(stored)
        self.sequence += 1

    def delete(self, names: Sequence[str]) -> int:
        """Delete points and return how many were stored."""
        known = [name for name in dict.fromkeys(names) if name in self.stored]
        for name in known:
            del self.stored[name]
        self.sequence += bool(known)
        return len(known)

    def names(self, given: dict[str, Any] | None) -> list[str]:
        """Return the ids that match a filter in its JSON form, in order."""
        return [
            name
            for name, (_, metadata, _) in self.stored.items()
            if given is None or matches(given, metadata)
        ]

    def check(self, query: Query, hits: Sequence[Hit], given: dict[str, Any] | None = None) -> None:
        """Compare hits with brute force; of equal scores the point inserted first comes first.

        ``given`` is the filter of the query in its JSON form.
        """
        exact = self._exact(query, self.names(given))
        found = [hit.id for hit in hits]

        assert len(set(found)) == len(found)
        assert set(found) <= set(exact)
        for hit in hits:
            vector, metadata, text = self.stored[hit.id]
            assert abs(hit.score - exact[hit.id]) <= TOLERANCE
            assert hit.distance == (-hit.score if self.metric.is_distance else None)
            assert (hit.text, hit.metadata) == (text, metadata)
            if hit.vector is not None:
                assert hit.vector.tolist() == vector
        self._check_nearest(query, hits, exact)

    def _check_nearest(self, query: Query, hits: Sequence[Hit], exact: dict[str, float]) -> None:
        found = [hit.score for hit in hits]
        nearest = sorted(exact, key=lambda name: -exact[name])[: query.top_k]
        assert found == sorted(found, reverse=True)
        if query.threshold is None:
            assert len(hits) == len(nearest)
        if self.kind is not IndexKind.FLAT:
            return
        if self.metric is not Metric.COSINE:
            assert [hit.id for hit in hits] == nearest
        elif query.threshold is None:
            np.testing.assert_allclose(found, [exact[name] for name in nearest], atol=TOLERANCE)

    def _exact(self, query: Query, allowed: Sequence[str]) -> dict[str, float]:
        names = [name for name in allowed if name != query.id]
        if not names:
            return {}
        rows = np.array([self.stored[name][0] for name in names], np.float32)
        vector = query.vector
        if vector is None:
            assert query.id is not None
            vector = np.array(self.stored[query.id][0], np.float32)
        # In float32, as in a response: scores that differ only beyond it are equal.
        exact = scores(self.metric, vector, rows).astype(np.float32)
        threshold = -np.inf if query.threshold is None else query.threshold
        slack = TOLERANCE if self.metric is Metric.COSINE else 0
        return {
            name: float(score)
            for name, score in zip(names, exact, strict=True)
            if float(score) >= threshold - slack
        }

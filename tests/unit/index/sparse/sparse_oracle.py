"""What a search by sparse vectors must find, computed by a loop over all points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embedder.core.errors import Unavailable
from embedder.index.contract.points import Hit, Points
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.vector_index import VectorIndex
from tests.unit.waiting import eventually

Weights = Mapping[int, float]
Content = Mapping[str, "Weights | None"]
"""The weights by id of each point, None for a point without a sparse vector."""

QUERIES: Sequence[Weights] = [{1: 1.0}, {0: 0.5, 2: 2.0, 5: 0.25}, {99: 1.0}, {}]


def best(content: Content, query: Weights) -> list[tuple[str, float]]:
    """Return the points that share an id with the query and their scores, the best first."""
    scores: dict[str, float] = {}
    for name, weights in content.items():
        shared = sorted((weights or {}).keys() & query.keys())
        if weights is not None and shared:
            scores[name] = sum(query[one] * float(np.float32(weights[one])) for one in shared)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def points_of(content: Content, width: int = 2) -> Points:
    """Return points with these sparse vectors, and texts that name them."""
    return Points(
        list(content),
        np.ones((len(content), width), np.float32),
        [f"text of {name}" for name in content],
        [{"id": name} for name in content],
        sparse=vectors_of(content),
    )


def vectors_of(content: Content) -> list[SparseVector | None]:
    """Return the sparse vector of each point."""
    return [None if one is None else SparseVector.of(one) for one in content.values()]


def contents(seed: int, count: int = 40) -> dict[str, Weights | None]:
    """Return random weights, of which some points have none."""
    random = np.random.default_rng(seed)
    names = [f"p{at}" for at in random.permutation(100)[:count]]
    found: dict[str, Weights | None] = {}
    for name in names:
        ids = random.choice(8, random.integers(0, 6), replace=False).tolist()
        found[name] = None if random.random() < 0.2 else {one: random.random() for one in ids}
    return found


def search(index: VectorIndex, weights: Weights, top_k: int = 1000, name: str = "c") -> list[Hit]:
    """Return the hits of one query."""
    query = SparseQuery(name, SparseVector.of(weights), top_k)
    return index.search_sparse([query]).hits[0]


def check(index: VectorIndex, content: Content, name: str = "c") -> None:
    """Compare searches with the oracle, to the last bit."""
    assert eventually(lambda: _answers(index, name))
    for query in QUERIES:
        found = search(index, query, name=name)
        assert [(hit.id, hit.score) for hit in found] == best(content, query)
        assert search(index, query, 3, name) == found[:3]
    answer = index.search_sparse([SparseQuery(name, SparseVector.of({}), 1)])
    assert answer.points == len(content)
    assert answer.weighted == sum(weights is not None for weights in content.values())


def _answers(index: VectorIndex, name: str) -> bool:
    try:
        search(index, {1: 1.0}, name=name)
    except Unavailable:
        return False
    return True

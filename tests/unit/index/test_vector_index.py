"""Collections by name: created, found, searched together, deleted; the same as a dict of dicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedder.errors import InvalidInput, InvalidVector, LimitExceeded, UnknownCollection
from embedder.index.limits import MAX_TOP_K
from embedder.index.points import CollectionInfo, Metric, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.oracle import QUARTERS, assert_nearest, points, request

NAN = float("nan")


def _query(name: str, vector: Sequence[float], top_k: int = 10) -> Query:
    return Query(name, np.array(vector, np.float32), top_k)


def test_creating_again_with_the_same_metric_confirms_what_is_there() -> None:
    index = VectorIndex()
    created = index.create("c", Metric.L1)
    index.upsert("c", points({"a": [1, 2]}))

    assert created == CollectionInfo("c", Metric.L1, "flat", None, 0, 0)
    assert index.create("c", Metric.L1) == CollectionInfo("c", Metric.L1, "flat", 2, 1, 1)


def test_creating_again_with_another_metric_is_refused_and_changes_nothing() -> None:
    index = VectorIndex()
    index.create("c", Metric.L1)
    with pytest.raises(InvalidInput, match=r"cosine.*'c' exists with l1") as caught:
        index.create("c", Metric.COSINE)

    assert caught.value.field == "metric"
    assert index.describe("c").metric is Metric.L1


@pytest.mark.parametrize("name", ["../x", "x\0", "x\n", "x" * 256, ".x", "", "x/y"])
def test_a_name_that_is_not_plain_is_refused_wherever_it_could_be_made(name: str) -> None:
    index = VectorIndex()
    with pytest.raises(InvalidInput, match="collection"):
        index.create(name, Metric.L2)
    with pytest.raises(InvalidInput, match="collection"):
        index.upsert(name, points({"a": [1]}))

    assert index.collections() == []


def test_a_name_too_long_is_told_the_limit() -> None:
    with pytest.raises(LimitExceeded) as caught:
        VectorIndex().create("x" * 256, Metric.L2)

    assert (caught.value.size, caught.value.limit) == (256, 63)


def test_what_was_never_created_is_unknown() -> None:
    index = VectorIndex()
    for ask in (index.describe, index.delete):
        with pytest.raises(UnknownCollection) as caught:
            ask("missing")

        assert (caught.value.field, caught.value.name) == ("collection", "missing")
    with pytest.raises(UnknownCollection):
        index.search([_query("missing", [1])])


def test_a_first_upsert_creates_the_collection_with_the_cosine() -> None:
    index = VectorIndex()

    assert index.upsert("c", points({"a": [3, 4]})) == 1
    assert index.describe("c") == CollectionInfo("c", Metric.COSINE, "flat", 2, 1, 1)


@pytest.mark.parametrize("bad", [[NAN, 1.0], [0.0, 0.0], [1e38, 0.0], [float("inf"), 0.0]])
def test_a_refused_first_upsert_creates_no_collection(bad: list[float]) -> None:
    index = VectorIndex()
    with pytest.raises(InvalidVector) as caught:
        index.upsert("c", points({"a": [1, 2], "b": bad}))

    assert caught.value.field == "points[1].vector"
    assert index.collections() == []


def test_a_deleted_collection_begins_anew() -> None:
    index = VectorIndex()
    index.upsert("c", points({"a": [1, 2]}))
    index.delete("c")
    index.upsert("c", points({"b": [1, 2, 3]}))

    assert index.describe("c") == CollectionInfo("c", Metric.COSINE, "flat", 3, 1, 1)


def test_collections_are_listed_by_name() -> None:
    index = VectorIndex()
    for name in ("b", "a", "C"):
        index.create(name, Metric.DOT)

    assert [info.name for info in index.collections()] == ["C", "a", "b"]


def test_queries_of_many_collections_and_sizes_are_answered_each_in_its_place() -> None:
    index = VectorIndex()
    index.create("line", Metric.L1)
    index.upsert("line", points({"one": [1], "two": [2], "nine": [9]}))
    index.upsert("plane", points({"east": [1, 0], "north": [0, 1]}))
    asked = [("plane", [0.0, 5.0], 1), ("line", [8.0], 2), ("plane", [5.0, 0.0], 9)]
    asked += [("line", [0.0], 2), ("line", [2.0], 1), ("plane", [4.0, 0.0], 1)]
    answers = index.search([_query(*query) for query in asked])

    assert [[hit.id for hit in hits] for hits in answers] == [
        ["north"],
        ["nine", "two"],
        ["east", "north"],
        ["one", "two"],
        ["two"],
        ["east"],
    ]
    assert index.search([]) == []


def test_a_query_of_another_width_among_sound_ones_is_refused_for_its_width() -> None:
    index = VectorIndex()
    index.upsert("c", points({"a": [1, 2]}))

    with pytest.raises(InvalidVector, match="3 components; the collection has 2"):
        index.search([_query("c", [1, 2]), _query("c", [1, 2, 3]), _query("c", [2, 1])])


@pytest.mark.parametrize("top_k", [-1, 0, MAX_TOP_K + 1])
def test_more_or_fewer_answers_than_there_may_be_are_refused(top_k: int) -> None:
    index = VectorIndex()
    index.upsert("c", points({"a": [1]}))

    with pytest.raises(InvalidInput, match=str(MAX_TOP_K)) as caught:
        index.search([_query("c", [1], top_k)])

    assert caught.value.field == "top_k"
    assert len(index.search([_query("c", [1], MAX_TOP_K)])[0]) == 1


NAMES = st.sampled_from(["a", "b", "c"])
VECTORS = st.lists(QUARTERS, min_size=2, max_size=2).filter(any)
PAIRS = st.lists(st.tuples(st.sampled_from("tuvwxyz🙂"), VECTORS), min_size=1, max_size=6)


class LikeADictOfDicts(RuleBasedStateMachine):
    """Do the same to an index and to a dict; they must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex()
        self.metrics: dict[str, Metric] = {}
        self.stored: dict[str, dict[str, Sequence[float]]] = {}
        self.sequences: dict[str, int] = {}

    @rule(name=NAMES, metric=st.sampled_from(Metric))
    def create(self, name: str, metric: Metric) -> None:
        if self.metrics.get(name, metric) is not metric:
            with pytest.raises(InvalidInput):
                self.index.create(name, metric)
            return
        self._begin(name, metric)

        assert self.index.create(name, metric).count == len(self.stored[name])

    @rule(name=NAMES, pairs=PAIRS)
    def upsert(self, name: str, pairs: list[tuple[str, list[float]]]) -> None:
        self._begin(name, Metric.COSINE)
        self.stored[name].update(pairs)
        self.sequences[name] += 1

        assert self.index.upsert(name, request(*pairs)) == self.sequences[name]

    @rule(name=NAMES, pairs=PAIRS, bad=st.sampled_from([[NAN, 1.0], [1e38, 0.0]]))
    def upsert_what_is_refused(
        self, name: str, pairs: list[tuple[str, list[float]]], bad: list[float]
    ) -> None:
        with pytest.raises(InvalidVector) as caught:
            self.index.upsert(name, request(*pairs, ("t", bad)))

        assert caught.value.field == f"points[{len(pairs)}].vector"

    @precondition(lambda self: self.stored)
    @rule(queries=st.lists(st.tuples(NAMES, VECTORS, st.integers(1, 9)), min_size=1, max_size=5))
    def search(self, queries: list[tuple[str, list[float], int]]) -> None:
        there = [query for query in queries if query[0] in self.stored]
        if len(there) < len(queries):
            with pytest.raises(UnknownCollection):
                self.index.search([_query(*query) for query in queries])
        asked = [_query(*query) for query in there]
        for query, hits in zip(asked, self.index.search(asked), strict=True):
            stored, metric = self.stored[query.collection], self.metrics[query.collection]
            assert_nearest(hits, stored, query.vector, metric, query.top_k)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name not in self.stored:
            with pytest.raises(UnknownCollection):
                self.index.delete(name)
            return
        for table in (self.metrics, self.stored, self.sequences):
            del table[name]
        self.index.delete(name)

    @invariant()
    def both_know_the_same_collections(self) -> None:
        expected = [
            CollectionInfo(
                name,
                self.metrics[name],
                "flat",
                2 if self.stored[name] else None,
                len(self.stored[name]),
                self.sequences[name],
            )
            for name in sorted(self.stored)
        ]

        assert self.index.collections() == expected
        assert [self.index.describe(info.name) for info in expected] == expected

    def _begin(self, name: str, metric: Metric) -> None:
        self.metrics.setdefault(name, metric)
        self.stored.setdefault(name, {})
        self.sequences.setdefault(name, 0)


TestLikeADictOfDicts = LikeADictOfDicts.TestCase
TestLikeADictOfDicts.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

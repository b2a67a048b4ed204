"""Collections are created, described, searched together and deleted by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, InvalidVector, LimitExceeded, UnknownCollection
from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.contract.points import CollectionInfo, Metric, Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.brute_force import points
from tests.unit.index.small_index import small_settings

pytestmark = pytest.mark.every_store

NAN = float("nan")


def _query(name: str, vector: Sequence[float], top_k: int = 10) -> Query:
    return Query(name, np.array(vector, np.float32), top_k)


def test_creating_again_with_the_same_metric_returns_the_existing_collection() -> None:
    index = VectorIndex(small_settings(), background=False)
    created = index.create("c", Spec(Metric.L1))
    index.upsert("c", points({"a": [1, 2]}))

    assert created == CollectionInfo("c", Metric.L1, "auto", None, 0, 0)
    assert index.create("c", Spec(Metric.L1)) == CollectionInfo(
        "c", Metric.L1, "auto", 2, 1, 1, pending=1
    )


def test_creating_again_with_another_metric_is_refused_and_changes_nothing() -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(Metric.L1))
    with pytest.raises(InvalidInput, match=r"cosine.*'c' exists with l1") as caught:
        index.create("c", Spec(Metric.COSINE))

    assert caught.value.field == "metric"
    assert index.describe("c").metric is Metric.L1


@pytest.mark.parametrize("name", ["../x", "x\0", "x\n", "x" * 256, ".x", "", "x/y"])
def test_an_invalid_name_is_refused_by_create_and_upsert(name: str) -> None:
    index = VectorIndex(small_settings(), background=False)
    with pytest.raises(InvalidInput, match="collection"):
        index.create(name, Spec(Metric.L2))
    with pytest.raises(InvalidInput, match="collection"):
        index.upsert(name, points({"a": [1]}))

    assert index.collections() == []


def test_a_name_that_is_too_long_is_refused_with_the_limit() -> None:
    with pytest.raises(LimitExceeded) as caught:
        VectorIndex(small_settings(), background=False).create("x" * 256, Spec(Metric.L2))

    assert (caught.value.size, caught.value.limit) == (256, 63)


def test_a_collection_that_was_never_created_is_unknown() -> None:
    index = VectorIndex(small_settings(), background=False)
    for ask in (index.describe, index.delete):
        with pytest.raises(UnknownCollection) as caught:
            ask("missing")

        assert (caught.value.field, caught.value.name) == ("collection", "missing")
    with pytest.raises(UnknownCollection):
        index.search([_query("missing", [1])])


def test_a_first_upsert_creates_the_collection_with_cosine() -> None:
    index = VectorIndex(small_settings(), background=False)

    assert index.upsert("c", points({"a": [3, 4]})) == 1
    assert index.describe("c") == CollectionInfo("c", Metric.COSINE, "auto", 2, 1, 1, pending=1)


@pytest.mark.parametrize("bad", [[NAN, 1.0], [0.0, 0.0], [1e38, 0.0], [float("inf"), 0.0]])
def test_a_refused_first_upsert_creates_no_collection(bad: list[float]) -> None:
    index = VectorIndex(small_settings(), background=False)
    with pytest.raises(InvalidVector) as caught:
        index.upsert("c", points({"a": [1, 2], "b": bad}))

    assert caught.value.field == "points[1].vector"
    assert index.collections() == []


def test_a_deleted_collection_can_be_created_again() -> None:
    index = VectorIndex(small_settings(), background=False)
    index.upsert("c", points({"a": [1, 2]}))
    index.delete("c")
    index.upsert("c", points({"b": [1, 2, 3]}))

    assert index.describe("c") == CollectionInfo("c", Metric.COSINE, "auto", 3, 1, 1, pending=1)


def test_collections_are_listed_by_name() -> None:
    index = VectorIndex(small_settings(), background=False)
    for name in ("b", "a", "C"):
        index.create(name, Spec(Metric.DOT))

    assert [info.name for info in index.collections()] == ["C", "a", "b"]


def test_hits_have_the_order_of_the_queries_over_many_collections() -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("line", Spec(Metric.L1))
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


def test_a_query_of_another_width_among_valid_ones_is_refused() -> None:
    index = VectorIndex(small_settings(), background=False)
    index.upsert("c", points({"a": [1, 2]}))

    with pytest.raises(InvalidVector, match="3 components; the collection has 2"):
        index.search([_query("c", [1, 2]), _query("c", [1, 2, 3]), _query("c", [2, 1])])


@pytest.mark.parametrize("top_k", [-1, 0, MAX_TOP_K + 1])
def test_top_k_outside_the_limits_is_refused(top_k: int) -> None:
    index = VectorIndex(small_settings(), background=False)
    index.upsert("c", points({"a": [1]}))

    with pytest.raises(InvalidInput, match=str(MAX_TOP_K)) as caught:
        index.search([_query("c", [1], top_k)])

    assert caught.value.field == "top_k"
    assert len(index.search([_query("c", [1], MAX_TOP_K)])[0]) == 1


def test_a_directory_may_start_with_the_home_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    VectorIndex(IndexSettings(directory="~/kept"), background=False).close()

    assert any((tmp_path / "kept").iterdir())

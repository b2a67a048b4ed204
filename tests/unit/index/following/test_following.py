"""What one replica of a shard has acknowledged, every other replica finds at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import InvalidVector, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Metric, Points, Query, Spec, StoredModel
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points
from tests.unit.index.reembedding.steps import NEW, complete, new_vector, points_of
from tests.unit.index.small_index import ALL_FIELDS

Open = Callable[[], VectorIndex]

A = StoredModel("a", "r1", "d1", "mean")


def _ids(index: VectorIndex, vector: list[float], top_k: int = 10) -> list[str]:
    query = Query("c", np.array(vector, np.float32), top_k)
    return [hit.id for hit in index.search([query])[0]]


def test_a_write_is_found_through_every_replica(replica: Open) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0]}))

    assert _ids(two, [1, 0]) == ["a"]
    two.upsert("c", points({"b": [1, 1]}))
    assert _ids(one, [1, 0]) == ["a", "b"]
    one.delete_points("c", ["a"])
    assert _ids(two, [1, 0]) == ["b"]
    assert [index.count("c") for index in (one, two)] == [1, 1]


def test_every_read_of_the_latest_state_sees_the_write(replica: Open) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0]}))
    two.count("c")
    given = Points(["b"], np.array([[0, 1]], np.float32), ["text"], [{"n": 1}])
    one.upsert("c", given)
    condition = parse({"n": 1})

    assert [one.id for one in two.fetch("c", ["b"], ALL_FIELDS)] == ["b"]
    assert [one.id for one in two.scroll("c").records] == ["a", "b"]
    assert two.count("c", condition) == 1
    assert two.describe("c").count == two.collections()[0].count == 2
    (hits,) = two.search([Query("c", None, 5, id="b", include=ALL_FIELDS)])
    assert [hit.id for hit in hits] == ["a"]
    (hits,) = two.search([Query("c", np.ones(2, np.float32), 5, filter=condition)])
    assert [(hit.id, hit.text, hit.metadata) for hit in hits] == [("b", "text", {"n": 1})]


def test_a_stale_read_uses_the_state_that_is_there(replica: Open) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0], "b": [0, 1]}))
    assert _ids(two, [1, 0], 1) == ["a"]
    one.delete_points("c", ["a"])
    one.upsert("c", points({"c": [1, 0]}))
    query = Query("c", np.array([1, 0], np.float32), 5, include=(), consistency="stale")

    assert [hit.id for hit in two.search([query])[0]] == ["a", "b"]
    assert two.describe("c", "stale").count == 2
    assert two.describe("c").count == 2
    assert [hit.id for hit in two.search([query])[0]] == ["c", "b"]


def test_a_stale_search_leaves_out_the_text_of_a_deleted_point(replica: Open) -> None:
    one, two = replica(), replica()
    given = Points(["a", "b"], np.eye(2, dtype=np.float32), ["old", "b"], [{}, {}])
    one.upsert("c", given)
    two.describe("c")
    one.upsert("c", Points(["b"], np.ones((1, 2), np.float32), ["new"], [{"n": 1}]))
    one.delete_points("c", ["a"])
    query = Query("c", np.ones(2, np.float32), 5, include=ALL_FIELDS, consistency="stale")

    (hits,) = two.search([query])
    assert [(hit.id, hit.text, hit.metadata) for hit in hits] == [("b", "new", {"n": 1})]


def test_a_collection_is_created_deleted_and_created_again_through_any_replica(
    replica: Open,
) -> None:
    one, two = replica(), replica()
    one.create("c", Spec(Metric.L2))
    assert two.describe("c").metric is Metric.L2
    two.upsert("c", points({"a": [1, 0]}))
    one.delete("c")
    with pytest.raises(UnknownCollection):
        two.describe("c")
    assert two.collections() == []
    one.upsert("c", points({"b": [1, 0, 0]}))

    assert two.describe("c").width == 3
    assert _ids(two, [1, 0, 0]) == ["b"]


def test_a_write_to_a_collection_that_was_created_again_is_checked_against_the_present_one(
    replica: Open,
) -> None:
    one, two = replica(), replica()
    two.upsert("c", points({"a": [1, 0]}), Spec(identity="1" * 32))
    one.delete("c")
    one.create("c", Spec(Metric.L1, identity="2" * 32))
    one.upsert("c", points({"b": [1, 0, 0]}))

    two.upsert("c", points({"d": [1, 0, 1]}), Spec(identity="2" * 32))
    assert [one.id for one in one.scroll("c").records] == ["b", "d"]
    with pytest.raises(InvalidVector):
        two.upsert("c", points({"e": [1, 0]}))
    with pytest.raises(StaleCollection):
        two.upsert("c", points({"e": [1, 0, 0]}), Spec(identity="1" * 32))
    assert _ids(two, [1, 0, 0], 1) == ["b"]


def test_a_write_through_a_replica_that_has_not_seen_the_new_collection_is_stored_there(
    replica: Open,
) -> None:
    one, two = replica(), replica()
    two.upsert("c", points({"a": [1, 0]}))
    one.delete("c")
    one.upsert("c", points({"b": [0, 1]}))

    assert two.upsert("c", points({"d": [1, 1]})) == 2
    assert _ids(one, [1, 1]) == _ids(two, [1, 1]) == ["d", "b"]
    assert two.delete_points("c", ["a", "b"]).count == 1
    assert _ids(one, [1, 1]) == _ids(two, [1, 1]) == ["d"]


def test_a_model_is_recorded_for_every_replica(replica: Open) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0]}))
    two.describe("c")
    one.record_model("c", None, A)

    assert two.describe("c").stored == A
    other = StoredModel("b", "r2", "d2", "mean")
    with pytest.raises(StaleCollection):
        two.search([Query("c", np.ones(2, np.float32), 1, model=other)])


def test_a_restored_collection_replaces_the_one_of_every_replica(
    replica: Open, tmp_path: Path
) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0]}))
    one.back_up("c", tmp_path / "copy")
    two.upsert("c", points({"b": [0, 1]}))
    one.restore(tmp_path / "copy", "c", None, True)

    assert _ids(two, [1, 0]) == ["a"]
    one.restore(tmp_path / "copy", "other")
    assert two.describe("other").count == 1


def test_new_vectors_replace_the_old_ones_in_every_replica(replica: Open) -> None:
    one, two = replica(), replica()
    one.upsert("c", points_of({"a": "x", "b": "xxxx"}))
    assert _ids(two, [4, 1], 1) == ["b"]
    complete(one)

    assert two.describe("c").stored == NEW
    assert _ids(two, [1, 2, 4], 1) == ["b"]
    two.upsert("c", points_of({"d": "xxxxxxxx"}, new_vector))
    assert _ids(one, [1, 2, 8], 1) == ["d"]

"""The parameters of a search, and requests that the index refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, LimitExceeded, NotFound, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_PAGE, MAX_WIDTH
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.similarity.mmr import maximal_marginal_relevance
from tests.unit.index.brute_force import points
from tests.unit.index.small_index import merge_all, small_settings

pytestmark = pytest.mark.every_store

LINE = {f"p{number}": [float(number)] for number in range(100)}


@pytest.fixture
def index() -> VectorIndex:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(Metric.L2))
    metadata = [{"n": number} for number in range(100)]
    index.upsert("c", replace(points(LINE), metadata=metadata, texts=list(LINE)))
    return index


def _ids(index: VectorIndex, **asked: Any) -> list[str]:
    given: dict[str, Any] = {"collection": "c", "vector": np.zeros(1, np.float32), "top_k": 5}
    return [hit.id for hit in index.search([Query(**(given | asked))])[0]]


def test_a_search_by_id_returns_the_neighbours_without_the_point(index: VectorIndex) -> None:
    assert _ids(index, vector=None, id="p50", top_k=4) == ["p49", "p51", "p48", "p52"]


def test_a_threshold_excludes_farther_points(index: VectorIndex) -> None:
    assert _ids(index, threshold=-2.0) == ["p0", "p1", "p2"]
    assert _ids(index, threshold=0.5) == []


@pytest.mark.parametrize("settled", [False, True])
def test_every_hit_matches_the_filter(index: VectorIndex, settled: bool) -> None:
    if settled:
        merge_all(index, "c")

    assert _ids(index, filter=parse({"n": {"$gte": 97}})) == ["p97", "p98", "p99"]
    assert _ids(index, filter=parse({"n": {"$ne": 0}}), top_k=2) == ["p1", "p2"]
    assert _ids(index, filter=parse({"n": -1})) == []


def test_diverse_hits_are_chosen_from_more_candidates_than_top_k(index: VectorIndex) -> None:
    vector = np.array([20.2], np.float32)
    nearest = _ids(index, vector=vector, top_k=50)
    rows = np.array([LINE[name] for name in nearest], np.float32)
    order = maximal_marginal_relevance(vector, rows, 6, diversity=0.7, metric="euclidean")
    found = _ids(index, vector=vector, top_k=6, diversity=0.7)

    assert found == [nearest[at] for at in order]
    assert found != nearest[:6]
    assert _ids(index, vector=vector, top_k=6, diversity=0.0) == nearest[:6]


def test_a_hit_holds_only_the_included_fields(index: VectorIndex) -> None:
    query = Query("c", np.zeros(1, np.float32), 1)
    everything = ("vector", "text", "metadata")
    answers = index.search(
        [replace(query, include=include) for include in [(), *[(one,) for one in everything]]]  # type: ignore[arg-type] # names of parts
    )
    told = [
        (hit.text, hit.metadata, None if hit.vector is None else hit.vector.tolist())
        for (hit,) in answers
    ]

    assert told == [(None, {}, None), (None, {}, [0.0]), ("p0", {}, None), (None, {"n": 0}, None)]


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        ({"top_k": 0}, InvalidInput, "top_k"),
        ({"top_k": 1001}, InvalidInput, "top_k"),
        ({"diversity": 1.5}, InvalidInput, "diversity"),
        ({"diversity": float("nan")}, InvalidInput, "diversity"),
        ({"threshold": float("inf")}, InvalidInput, "threshold"),
        ({"id": "p1"}, InvalidInput, "vector"),
        ({"vector": None}, InvalidInput, "vector"),
        ({"vector": None, "id": "missing"}, NotFound, "id"),
        ({"collection": "missing"}, UnknownCollection, "collection"),
    ],
)
def test_the_error_for_an_invalid_query_names_the_field(
    index: VectorIndex, asked: dict[str, Any], error: type[InvalidInput], field: str
) -> None:
    with pytest.raises(error) as caught:
        _ids(index, **asked)

    assert caught.value.field == field


def test_invalid_limits_cursors_and_ids_are_refused(index: VectorIndex) -> None:
    for limit in (0, MAX_PAGE + 1):
        with pytest.raises(InvalidInput, match="limit"):
            index.scroll("c", limit=limit)
    for cursor in ("", "x", "-1", "1" * 19, "\u0661"):
        with pytest.raises(InvalidInput, match="cursor"):
            index.scroll("c", cursor)
    with pytest.raises(LimitExceeded, match=r"ids\[1\]"):
        index.fetch("c", ["a", "x" * 256])
    with pytest.raises(InvalidInput, match=r"ids\[0\]"):
        index.delete_points("c", [""])


def _point(**changed: Any) -> Points:
    given = Points(["good", "bad"], np.ones((2, 1), np.float32), [None] * 2, [{}] * 2)
    return replace(given, **changed)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (_point(ids=["good", "x" * 256]), "points[1].id"),
        (_point(ids=["good", ""]), "points[1].id"),
        (_point(ids=["good", "\ud800"]), "points[1].id"),
        (_point(ids=["good", "good"]), "points[1].id"),
        (_point(vectors=np.array([[1], [np.nan]], np.float32)), "points[1].vector"),
        (_point(vectors=np.array([[1], [np.inf]], np.float32)), "points[1].vector"),
        (_point(vectors=np.array([[1], [1e38]], np.float32)), "points[1].vector"),
        (_point(vectors=np.ones((2, 0), np.float32)), "points[0].vector"),
        (_point(vectors=np.ones((2, MAX_WIDTH + 1), np.float32)), "points[0].vector"),
        (_point(vectors=np.ones((2, 2), np.float32)), "points[0].vector"),
        (_point(texts=[None, "\ud800"]), "points[1].text"),
        (_point(metadata=[{}, {"a": "x" * 70_000}]), "points[1].metadata"),
        (Points([], np.empty((0, 1), np.float32), [], []), "points"),
    ],
)
def test_a_request_with_an_invalid_point_is_refused_and_stores_nothing(
    index: VectorIndex, bad: Points, field: str
) -> None:
    before = index.describe("c")
    with pytest.raises(InvalidInput) as caught:
        index.upsert("c", bad)

    assert caught.value.field == field
    assert index.describe("c") == before


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "/etc", "a\0", "a\n", "%2e%2e", "é", ""])
def test_an_invalid_name_creates_no_file(tmp_path: Path, name: str) -> None:
    index = VectorIndex(small_settings(tmp_path / "index"), background=False)
    before = sorted(tmp_path.rglob("*"))
    for make in (index.create, lambda name: index.upsert(name, _point())):
        with pytest.raises(InvalidInput):
            make(name)

    assert sorted(tmp_path.rglob("*")) == before
    index.close()


@pytest.mark.parametrize(
    ("made", "asked", "field"),
    [
        ({}, {"metric": Metric.DOT}, "metric"),
        ({"kind": IndexKind.FLAT}, {"kind": IndexKind.HNSW}, "index"),
        ({"model": "m"}, {"model": "n"}, "model"),
        ({"width": 3}, {"width": 4}, "width"),
    ],
)
def test_creating_an_existing_collection_with_other_properties_is_refused(
    made: dict[str, Any], asked: dict[str, Any], field: str
) -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(**made))
    with pytest.raises(InvalidInput) as caught:
        index.create("c", Spec(**asked))

    assert caught.value.field == field
    assert index.create("c", Spec(**made)) == index.describe("c")


@pytest.mark.parametrize("width", [0, -1, MAX_WIDTH + 1])
def test_a_width_out_of_range_is_refused(width: int) -> None:
    with pytest.raises(InvalidInput, match="width"):
        VectorIndex(small_settings(), background=False).create("c", Spec(width=width))


def test_a_stated_width_applies_to_the_first_point() -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(width=3))
    with pytest.raises(InvalidInput, match="the collection has 3"):
        index.upsert("c", points({"a": [1, 2]}))
    index.upsert("c", points({"a": [1, 2, 3]}))

    assert index.describe("c").count == 1


@pytest.mark.parametrize("equal", [20, 300])
def test_of_equal_scores_the_point_inserted_first_comes_first(equal: int) -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(Metric.DOT, kind=IndexKind.FLAT))
    names = [f"p{number}" for number in np.random.default_rng(1).permutation(equal)]
    for start in range(0, equal, 50):
        index.upsert("c", points({name: [1, 1] for name in names[start : start + 50]}))

    def found() -> Sequence[str]:
        return _ids(index, vector=np.ones(2, np.float32), top_k=10)

    assert found() == names[:10]
    merge_all(index, "c")
    assert found() == names[:10]


def test_repeating_an_upsert_changes_no_point(index: VectorIndex) -> None:
    before = index.scroll("c", include=("vector", "text", "metadata")).records
    sequence = index.describe("c").sequence
    given = replace(
        points(LINE), metadata=[{"n": number} for number in range(100)], texts=list(LINE)
    )

    assert index.upsert("c", given) == sequence + 1
    assert index.scroll("c", include=("vector", "text", "metadata")).records == before
    assert index.delete_points("c", ["p1", "p1"]).count == 1
    assert index.delete_points("c", ["p1"]) == replace(
        index.delete_points("c", ["missing"]), count=0, sequence=sequence + 2
    )

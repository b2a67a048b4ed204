"""A collection has one point per id, stores whole requests or nothing, and is thread-safe."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.index.contract.points import Hit, Metric, Points
from tests.unit.examples import TIMES
from tests.unit.index.brute_force import (
    QUARTERS,
    TOLERANCE,
    assert_nearest,
    points,
    request,
    vectors,
)
from tests.unit.index.small_index import SmallIndex
from tests.unit.waiting import LONG_S

WIDTH = 2
EVERY_METRIC = pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.value)
VECTORS = st.lists(QUARTERS, min_size=WIDTH, max_size=WIDTH).filter(any)
REQUESTS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c", "é", "🙂"]), VECTORS, min_size=1),
    min_size=1,
    max_size=4,
)
NAN, INF = float("nan"), float("inf")


def _search(collection: SmallIndex, query: Sequence[float], top_k: int = 10) -> list[Hit]:
    return collection.search(np.array([query], np.float32), top_k)[0]


@EVERY_METRIC
@given(requests=REQUESTS, queries=vectors(2, WIDTH), top_k=st.integers(1, 12))
@settings(max_examples=25 * TIMES)
def test_a_search_uses_only_the_last_vector_of_an_id(
    requests: list[dict[str, list[float]]], queries: Vectors, top_k: int, metric: Metric
) -> None:
    collection = SmallIndex(metric)
    kept: dict[str, Sequence[float]] = {}
    for number, stored in enumerate(requests, start=1):
        kept.update(stored)

        assert collection.upsert(points(stored)) == number

    assert collection.describe().count == len(kept)
    for query, hits in zip(queries, collection.search(queries, top_k), strict=True):
        assert_nearest(hits, kept, query, metric, top_k)


def test_a_request_with_an_id_twice_is_refused_and_stores_nothing() -> None:
    collection = SmallIndex(Metric.DOT)
    with pytest.raises(InvalidInput, match=r"points\[2\]\.id' is the same as that of points\[0\]"):
        collection.upsert(request(("a", [1, 0]), ("b", [0, 1]), ("a", [2, 0])))

    assert collection.describe().count == 0


def test_a_later_request_replaces_the_whole_point() -> None:
    collection = SmallIndex(Metric.L2)
    collection.upsert(Points(["a"], np.array([[9, 9]], np.float32), ["old"], [{"old": True}]))
    collection.upsert(Points(["a"], np.array([[3, 4]], np.float32), [None], [{}]))

    assert _search(collection, [0, 0]) == [Hit("a", -5.0, 5.0, None, {})]


@EVERY_METRIC
def test_an_empty_collection_returns_no_hits(metric: Metric) -> None:
    collection = SmallIndex(metric)

    assert collection.search(np.ones((3, 5), np.float32), 10) == [[], [], []]
    assert collection.describe().width is None


@pytest.mark.parametrize(
    ("metric", "bad"),
    [
        *((metric, [value, 1.0]) for metric in Metric for value in (NAN, INF, -INF, 1e38)),
        (Metric.COSINE, [0.0, 0.0]),
    ],
)
@pytest.mark.parametrize("filled", [False, True])
def test_a_request_with_an_invalid_vector_is_refused_and_stores_nothing(
    metric: Metric, bad: list[float], filled: bool
) -> None:
    collection = SmallIndex(metric)
    if filled:
        collection.upsert(points({"a": [1, 2]}))
    before = collection.describe()
    with pytest.raises(InvalidVector) as caught:
        collection.upsert(points({"new": [3, 4], "a": [5, 6], "bad": bad}))

    assert caught.value.field == "points[2].vector"
    assert collection.describe() == before
    assert [hit.id for hit in _search(collection, [3, 4])] == ["a"] * filled


@pytest.mark.parametrize("bad", ["", "a" * 256, "\ud800"])
def test_a_request_with_an_invalid_id_is_refused_and_stores_nothing(bad: str) -> None:
    collection = SmallIndex(Metric.L1)
    with pytest.raises(InvalidInput) as caught:
        collection.upsert(points({"a": [1, 2], bad: [3, 4]}))

    assert caught.value.field == "points[1].id"
    assert (collection.describe().count, collection.describe().width) == (0, None)


@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], [NAN, 1.0], [0.0, 0.0], [1e38, 0.0]])
def test_a_query_with_an_invalid_vector_is_refused(bad: list[float]) -> None:
    collection = SmallIndex(Metric.COSINE)
    collection.upsert(points({"a": [1, 2]}))

    with pytest.raises(InvalidVector, match="vector"):
        _search(collection, bad)


@pytest.mark.parametrize("scale", [1e-30, 1e-23, 1e-22, 1e-18, 1e18])
def test_the_cosine_of_a_vector_of_any_length_is_right(scale: float) -> None:
    collection = SmallIndex(Metric.COSINE)
    with suppress(InvalidVector):
        collection.upsert(points({"a": [3 * scale, 4 * scale]}))
        (hit,) = _search(collection, [4, 3])

        assert hit.score == pytest.approx(24 / 25, abs=TOLERANCE)


@EVERY_METRIC
@pytest.mark.parametrize("far", [1e18, 1e19, 1.8e19])
def test_distant_points_are_refused_or_found(far: float, metric: Metric) -> None:
    collection = SmallIndex(metric)
    with suppress(InvalidVector):
        collection.upsert(points({"east": [far], "west": [-far]}))
        hits = _search(collection, [far])

        assert [hit.id for hit in hits] == ["east", "west"]
        assert np.isfinite([hit.score for hit in hits]).all()


def _write(collection: SmallIndex, writer: int, rounds: int) -> None:
    """Set the writer's own id and a shared one; text, metadata and score all hold the version."""
    for version in range(1, rounds + 1):
        number = 1000 * writer + version
        collection.upsert(
            Points(
                [f"own-{writer}", "shared"],
                np.array([[number], [number]], np.float32),
                [str(number)] * 2,
                [{"version": number}] * 2,
            )
        )


def _read(collection: SmallIndex, rounds: int, writers: int) -> list[list[Hit]]:
    chance = random.Random(rounds)
    return [
        hits
        for _ in range(rounds)
        for hits in collection.search(
            np.ones((chance.randint(1, 3), 1), np.float32), chance.randint(1, writers + 3)
        )
    ]


def test_concurrent_searches_and_writes_return_consistent_points() -> None:
    collection = SmallIndex(Metric.DOT)
    writers, rounds = 4, 100
    with ThreadPoolExecutor(12) as pool:
        writing = [pool.submit(_write, collection, n, rounds) for n in range(1, writers + 1)]
        reading = [pool.submit(_read, collection, rounds, writers) for _ in range(8)]
        answers = [hits for future in reading for hits in future.result(timeout=LONG_S)]
        for future in writing:
            future.result(timeout=LONG_S)

    known = {"shared", *(f"own-{n}" for n in range(1, writers + 1))}
    for hits in answers:
        assert len({hit.id for hit in hits}) == len(hits)
        assert {hit.id for hit in hits} <= known
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            assert (hit.text, hit.metadata) == (f"{hit.score:.0f}", {"version": int(hit.score)})
    last = {hit.id: hit.score for hit in _search(collection, [1])}
    assert last.pop("shared") in last.values()
    assert last == {f"own-{n}": 1000 * n + rounds for n in range(1, writers + 1)}
    assert collection.describe().count == len(known)
    assert collection.describe().sequence == writers * rounds

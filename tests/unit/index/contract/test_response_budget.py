"""No response of the index exceeds the limit in bytes, and no page skips a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import LimitExceeded
from embedder.index.contract.points import Payload, PointField, Points, Query, Record
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import ALL_FIELDS

COUNT = 20
TEXT = 1000


@pytest.fixture
def index() -> Iterator[VectorIndex]:
    """Yield an index of points with texts of 1,000 characters."""
    index = VectorIndex(background=False)
    vectors = np.random.default_rng(0).standard_normal((COUNT, 8)).astype(np.float32)
    ids = [f"p{number}" for number in range(COUNT)]
    index.upsert("c", Points(ids, vectors, ["t" * TEXT] * COUNT, [{"n": 1}] * COUNT))
    yield index
    index.close()


def _size(answers: Any) -> int:
    content = [asdict(one) for one in answers]
    return len(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


@pytest.mark.parametrize("max_bytes", [1, 500, 2_000, 5_000, 10**6])
@pytest.mark.parametrize("include", [(), ("text",), ("vector",), ALL_FIELDS])
def test_pages_end_early_and_skip_no_point(
    index: VectorIndex, max_bytes: int, include: tuple[PointField, ...]
) -> None:
    records: list[Record] = []
    cursor = None
    while True:
        page = index.scroll("c", cursor, 15, None, include, max_bytes)
        assert page.records
        assert len(page.records) == 1 or _size(page.records) <= max_bytes + 64 * len(page.records)
        records += page.records
        cursor = page.cursor
        if cursor is None:
            break

    assert [one.id for one in records] == [f"p{number}" for number in range(COUNT)]
    assert _size(records) == _size(index.scroll("c", limit=1000, include=include).records)


def test_a_fetch_of_too_many_bytes_is_refused(index: VectorIndex) -> None:
    ids = [f"p{number}" for number in range(COUNT)]

    with pytest.raises(LimitExceeded) as caught:
        index.fetch("c", ids, ("text",), max_bytes=COUNT * TEXT)
    assert (caught.value.field, caught.value.limit) == ("ids", COUNT * TEXT)
    assert len(index.fetch("c", ids, ("text",), max_bytes=COUNT * TEXT * 2)) == COUNT
    assert len(index.fetch("c", ids, ("metadata",), max_bytes=COUNT * 200)) == COUNT


@pytest.mark.parametrize(("include", "fits"), [(("text",), 9), (("vector",), 49), ((), 103)])
def test_hits_of_too_many_bytes_are_refused_and_fewer_are_returned(
    index: VectorIndex, include: tuple[PointField, ...], fits: int
) -> None:
    def query(top_k: int) -> Query:
        vector = np.ones(8, np.float32)
        return Query("c", vector, top_k, "queries[1].vector", include=include, max_bytes=10_000)

    fits = min(fits, COUNT)
    (hits,) = index.search([query(fits)])

    assert len(hits) == fits
    if fits < COUNT:
        with pytest.raises(LimitExceeded) as caught:
            index.search([query(fits + 1)])
        assert (caught.value.field, caught.value.limit) == ("queries[1].top_k", 10_000)


def test_a_top_k_beyond_the_number_of_points_is_not_refused(index: VectorIndex) -> None:
    query = Query("c", np.ones(8, np.float32), 1000, include=("vector",), max_bytes=10_000)
    (hits,) = index.search([query])

    assert len(hits) == COUNT


def test_each_query_of_a_request_has_its_own_limit(index: VectorIndex) -> None:
    query = Query("c", np.ones(8, np.float32), 9, include=("text",), max_bytes=10_000)

    assert [len(hits) for hits in index.search([query] * 50)] == [9] * 50


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_texts_and_metadata_count_as_their_bytes_in_json(
    text: str, metadata: dict[str, str]
) -> None:
    stored = orjson.dumps(metadata).decode()
    budget = ResponseBudget(max_bytes=10**9)
    empty = ResponseBudget(max_bytes=10**9)
    budget.add(Payload(1, 1, "a", text, stored))
    empty.add(Payload(1, 1, "a", None, "{}"))

    assert budget.used - empty.used == len(orjson.dumps(text)) + len(orjson.dumps(metadata)) - 2

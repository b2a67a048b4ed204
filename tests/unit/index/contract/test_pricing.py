"""The prices of searches and writes grow with the compared rows and the stored bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Metric, Points, Query
from embedder.index.contract.pricing import search_price, upsert_price

UNIT_MS = 0.105
"""Of a thousand compared vectors, in the run that `MEASURED` is from."""
MEASURED = {
    "hnsw": ((0.65, 17.3), (75, 64, 79), (145, 64, 292)),
    "ivf_sq8": ((2.0, 49), (76, 62, 92), (132, 63, 510)),
    "ivf_pq": ((1.9, 72), (86, 63, 1_028), (182, 64, 3_336)),
}
"""Milliseconds of one query and of 64 without a filter, of one with a filter, and of 64 with it.

The ten nearest of 60,000 points; the filter keeps half of them by chance, none, or the half that is
farthest from the query.
"""

MILLION = CollectionInfo("c", Metric.COSINE, "auto", 4, count=10**6, sequence=1)


def _price(metadata: dict[str, Any]) -> int:
    return upsert_price(Points(["a"], np.ones((1, 4), np.float32), [None], [metadata]))


def test_metadata_is_priced_by_its_bytes_as_json() -> None:
    assert _price({"k": "ж" * 1000}) - _price({"k": ""}) == 2000
    assert _price({"k": [1] * 1000}) - _price({"k": [1]}) == 2 * 999


@pytest.mark.parametrize("value", [object(), "\ud800", 2**64])
def test_metadata_that_is_not_json_has_a_price_and_is_refused_later(value: object) -> None:
    assert _price({"k": value}) > 0


def _search_price(
    count: int, collection: CollectionInfo | None, filtered: str = "", top_k: int = 10
) -> int:
    condition = parse({"n": filtered}) if filtered else None
    query = Query("c", np.ones(4, np.float32), top_k, filter=condition)
    return search_price([query] * count, collection)


@pytest.mark.parametrize("kind", MEASURED)
def test_prices_are_in_proportion_to_measured_times(kind: str) -> None:
    collection = replace(MILLION, count=60_000, serving=kind)
    plain, lone, many = MEASURED[kind]
    most = 10 if kind == "ivf_pq" else 5

    def shares(price: int, *times: float) -> list[float]:
        return [price * UNIT_MS / time for time in times]

    found = [
        *shares(_search_price(1, collection), plain[0]),
        *shares(_search_price(64, collection), plain[1]),
        *shares(_search_price(1, collection, "a"), *lone),
        *shares(_search_price(64, collection, "a"), *many),
    ]
    assert max(found) < most
    assert min(found) > 1 / 6


def test_a_search_is_priced_by_queries_times_compared_vectors() -> None:
    few = replace(MILLION, count=10)
    assert _search_price(3, None) == _search_price(3, few) == 3
    assert _search_price(3, MILLION) == 3 * _search_price(1, MILLION) > 1000


def test_a_graph_bounds_the_price_except_for_points_outside_it() -> None:
    graph = replace(MILLION, serving="hnsw")
    assert _search_price(1, graph) == _search_price(1, replace(graph, count=10_000)) < 10
    assert _search_price(1, replace(graph, pending=10**6)) == _search_price(1, MILLION)
    lists = replace(MILLION, serving="ivf_flat")
    assert _search_price(1, graph) < _search_price(1, lists) < _search_price(1, MILLION) / 2


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"])
def test_many_neighbours_cost_more_and_at_most_those_of_all_points(kind: str) -> None:
    small = replace(MILLION, count=20_000, serving=kind)
    few, many, more = (_search_price(1, small, top_k=top_k) for top_k in (10, 500, 1000))
    assert few < many <= more
    if kind in ("hnsw", "ivf_flat"):
        assert more == _search_price(1, replace(small, serving="flat"))


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"])
def test_each_query_with_a_filter_may_be_compared_with_half_of_all_points(kind: str) -> None:
    collection = replace(MILLION, serving=kind)
    passed = _search_price(9, collection, "a") - _search_price(1, collection, "a")
    assert 8 * 500 <= passed < 8 * 600


def test_a_filter_is_priced_once_for_all_queries_that_have_it() -> None:
    scan = _search_price(1, MILLION, "a") - _search_price(1, MILLION)
    assert scan > 1000
    assert _search_price(5, MILLION, "a") - _search_price(5, MILLION) == scan

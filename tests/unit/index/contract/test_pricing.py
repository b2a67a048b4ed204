"""The prices of searches and writes grow with the compared rows and the stored bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Metric, Points, Query
from embedder.index.contract.pricing import GRAPH_ROWS, search_price, upsert_price

MILLION = CollectionInfo("c", Metric.COSINE, "auto", 4, count=10**6, sequence=1)


def _price(metadata: dict[str, Any]) -> int:
    return upsert_price(Points(["a"], np.ones((1, 4), np.float32), [None], [metadata]))


def test_metadata_is_priced_by_its_bytes_as_json() -> None:
    assert _price({"k": "ж" * 1000}) - _price({"k": ""}) == 2000
    assert _price({"k": [1] * 1000}) - _price({"k": [1]}) == 2 * 999


@pytest.mark.parametrize("value", [object(), "\ud800", 2**64])
def test_metadata_that_is_not_json_has_a_price_and_is_refused_later(value: object) -> None:
    assert _price({"k": value}) > 0


def _search_price(count: int, collection: CollectionInfo | None, filtered: str = "") -> int:
    condition = parse({"n": filtered}) if filtered else None
    query = Query("c", np.ones(4, np.float32), 10, filter=condition)
    return search_price([query] * count, collection)


def test_a_search_is_priced_by_queries_times_compared_vectors() -> None:
    few = replace(MILLION, count=10)
    assert _search_price(3, None) == _search_price(3, few) == 3
    assert _search_price(3, MILLION) == 3 * _search_price(1, MILLION) > 1000


def test_a_graph_bounds_the_price_except_for_points_outside_it() -> None:
    graph = replace(MILLION, serving="hnsw")
    assert _search_price(1, graph) == _search_price(1, replace(graph, count=GRAPH_ROWS)) < 10
    assert _search_price(1, replace(graph, pending=10**6)) == _search_price(1, MILLION)
    lists = replace(MILLION, serving="ivf_flat")
    assert _search_price(1, graph) < _search_price(1, lists) < _search_price(1, MILLION) / 2


def test_a_filter_is_priced_once_for_all_queries_that_have_it() -> None:
    graph = replace(MILLION, serving="hnsw")
    scan = _search_price(1, graph, "a") - _search_price(1, graph)
    assert scan > 1000
    assert _search_price(5, graph, "a") - _search_price(5, graph) == scan

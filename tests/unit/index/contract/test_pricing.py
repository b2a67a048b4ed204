"""What searches and writes cost before they are done: rows looked at, and bytes stored."""

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


def test_metadata_costs_as_many_bytes_as_it_takes() -> None:
    assert _price({"k": "ж" * 1000}) - _price({"k": ""}) == 2000
    assert _price({"k": [1] * 1000}) - _price({"k": [1]}) == 2 * 999


@pytest.mark.parametrize("value", [object(), "\ud800", 2**64])
def test_what_is_no_json_has_a_price_since_the_write_itself_refuses_it(value: object) -> None:
    assert _price({"k": value}) > 0


def _search_price(count: int, collection: CollectionInfo | None, filtered: str = "") -> int:
    condition = parse({"n": filtered}) if filtered else None
    query = Query("c", np.ones(4, np.float32), 10, filter=condition)
    return search_price([query] * count, collection)


def test_a_search_costs_its_queries_times_the_vectors_that_each_is_compared_with() -> None:
    few = replace(MILLION, count=10)
    assert _search_price(3, None) == _search_price(3, few) == 3
    assert _search_price(3, MILLION) == 3 * _search_price(1, MILLION) > 1000


def test_a_graph_bounds_the_price_but_for_the_points_that_are_not_in_it_yet() -> None:
    graph = replace(MILLION, serving="hnsw")
    assert _search_price(1, graph) == _search_price(1, replace(graph, count=GRAPH_ROWS)) < 10
    assert _search_price(1, replace(graph, pending=10**6)) == _search_price(1, MILLION)
    lists = replace(MILLION, serving="ivf_flat")
    assert _search_price(1, graph) < _search_price(1, lists) < _search_price(1, MILLION) / 2


def test_a_filter_is_priced_by_its_rows_once_for_all_queries_that_have_it() -> None:
    graph = replace(MILLION, serving="hnsw")
    scan = _search_price(1, graph, "a") - _search_price(1, graph)
    assert scan > 1000
    assert _search_price(5, graph, "a") - _search_price(5, graph) == scan

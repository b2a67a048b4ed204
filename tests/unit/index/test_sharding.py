"""Points are partitioned over shards, and the answers of the shards are merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.limits import MAX_TOP_K, MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import CollectionInfo, Hit, Metric, Query
from embedder.index.sharding import (
    merge_hits,
    merge_infos,
    owners,
    rows_by_shard,
    select_rows,
    shard_query,
    spec_of,
)
from embedder.similarity.mmr import maximal_marginal_relevance
from tests.unit.index.brute_force import points

IDS = [f"point {number}" for number in range(3000)]
QUERY = Query("c", np.array([1, 0], np.float32), 3, include=())


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_the_points_are_balanced_over_the_shards(shards: int) -> None:
    counts = Counter(owners(IDS, shards).tolist())

    assert set(counts) == set(range(shards))
    assert max(counts.values()) < 1.35 * len(IDS) / shards


def test_the_shard_of_an_id_never_changes() -> None:
    """Fixed values: with another shard, a point that is upserted again would be stored twice."""
    assert owners([*IDS[:8], "🙂", ""], 4).tolist() == [1, 2, 3, 0, 1, 3, 3, 3, 3, 1]


@given(st.lists(st.text(max_size=3), max_size=20), st.integers(1, 5))
def test_every_row_goes_to_one_shard_in_order(ids: list[str], shards: int) -> None:
    parts = rows_by_shard(ids, shards)

    assert sorted(row for rows in parts.values() for row in rows) == list(range(len(ids)))
    assert all(rows == sorted(rows) and rows for rows in parts.values())


def test_selected_rows_keep_all_fields_of_each_point() -> None:
    some = points({"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    some = replace(some, texts=["x", None, "z"], metadata=[{"n": 1}, {}, {"n": 3}])
    chosen = select_rows(some, [2, 0])

    assert (chosen.ids, chosen.texts, chosen.metadata) == (
        ["c", "a"],
        ["z", "x"],
        [{"n": 3}, {"n": 1}],
    )
    assert chosen.vectors.tolist() == [[5, 6], [1, 2]]


def test_descriptions_of_shards_are_added_up() -> None:
    one = CollectionInfo("c", Metric.L2, "auto", None, 3, 9, "m", "flat", 1, 2, 3)
    other = CollectionInfo("c", Metric.L2, "auto", 4, 5, 7, "m", "hnsw", 2, 3, 4)

    assert merge_infos([one, other]) == CollectionInfo(
        "c", Metric.L2, "auto", 4, 8, 9, "m", "hnsw", 3, 5, 7
    )
    assert spec_of(other).width == 4
    assert merge_infos([one]) == one


def test_each_shard_is_asked_for_all_hits() -> None:
    assert shard_query(QUERY) == QUERY
    assert shard_query(replace(QUERY, id="a")) == replace(QUERY, top_k=4)
    assert shard_query(replace(QUERY, id="a", top_k=MAX_TOP_K)).top_k == MAX_TOP_K


def test_a_diverse_query_asks_each_shard_for_candidates_with_vectors() -> None:
    few, many = (shard_query(replace(QUERY, diversity=0.5, top_k=top_k)) for top_k in (3, 100))

    assert (few.top_k, many.top_k) == (MIN_SAMPLE, 100 * OVERSAMPLE)
    assert few.diversity is None
    assert few.include == ("vector",)


SCORES = st.integers(-3, 3).map(float)


@given(st.lists(st.lists(SCORES, max_size=6), max_size=4), st.integers(1, 8))
def test_merged_hits_are_the_nearest_of_all_shards(scores: list[list[float]], top_k: int) -> None:
    answers = [
        [Hit(f"{shard} {row}", score, None) for row, score in enumerate(sorted(one, reverse=True))]
        for shard, one in enumerate(scores)
    ]
    found = merge_hits(replace(QUERY, top_k=top_k), answers, Metric.COSINE)
    everything = sorted(
        ((-hit.score, hit.id) for answer in answers for hit in answer),
    )

    assert [(-hit.score, hit.id) for hit in found] == everything[:top_k]


def test_the_point_of_the_query_is_excluded() -> None:
    answers = [[Hit("a", 1.0, None), Hit("b", 0.5, None)], [Hit("c", 0.7, None)]]
    found = merge_hits(replace(QUERY, id="a", top_k=2), answers, Metric.COSINE)

    assert [hit.id for hit in found] == ["c", "b"]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_diverse_hits_are_selected_from_the_candidates_of_all_shards(
    seed: int, with_vectors: bool
) -> None:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((12, 2)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = np.array([1, 0], np.float32)
    scores = rows @ query
    order = np.argsort(-scores, kind="stable")
    hits = [Hit(f"{row:02}", float(scores[row]), None, vector=rows[row]) for row in order.tolist()]
    wanted = replace(QUERY, top_k=4, diversity=0.6, include=("vector",) if with_vectors else ())
    found = merge_hits(wanted, [hits[::2], hits[1::2]], Metric.COSINE)
    expected = maximal_marginal_relevance(query, rows[order], 4, diversity=0.6)

    assert [hit.id for hit in found] == [hits[at].id for at in expected.tolist()]
    assert all((hit.vector is not None) == with_vectors for hit in found)

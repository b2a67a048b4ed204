"""Results are filled from cache hits and from computations, with the longest timings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.types import CacheHits, Timings
from embedder.pipeline.entry_results import EntryResults
from tests.unit.core.test_types import assert_rows, entries


@given(st.integers(1, 7), st.data())
def test_results_of_hits_are_filled_and_marked_as_cached(count: int, data: st.DataObject) -> None:
    found = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    hits = CacheHits(np.array(found, np.intp), entries(7).take(np.array(found, np.intp)))

    results = EntryResults.of_hits(hits, count, 3)

    assert results.cached.tolist() == [row in found for row in range(count)]
    assert results.missing() == [row for row in range(count) if row not in found]
    assert_rows(results.entries.take(np.array(found, np.intp)), found)


def test_put_overwrites_rows_with_the_given_rows_of_the_source() -> None:
    into = EntryResults(entries(4), np.zeros(4, np.bool_))
    source = EntryResults(entries(3, first=100), np.array([True, False, True]))

    into.put(np.array([3, 0], np.intp), source, np.array([0, 1], np.intp))

    assert_rows(into.entries, [101, 1, 2, 100])
    assert into.cached.tolist() == [False, False, False, True]


def test_put_keeps_the_longest_timing_of_each_step() -> None:
    into = EntryResults(entries(2), np.zeros(2, np.bool_))
    row = np.array([0], np.intp)
    for times in (Timings(1, 5, 2), Timings(2, 1, 2), Timings()):
        into.put(row, EntryResults(entries(2), np.zeros(2, np.bool_), times), row)

    assert into.timings == Timings(tokenization_s=2, queue_s=5, inference_s=2)


def test_results_of_hits_have_no_timings() -> None:
    hits = CacheHits(np.array([0], np.intp), entries(1))

    assert EntryResults.of_hits(hits, 2, 3).timings == Timings(0.0, 0.0, 0.0)

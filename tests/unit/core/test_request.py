"""Distinct inputs keep the first row of duplicates, and expand to all rows again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.distinct_inputs import DistinctInputs
from embedder.core.entries.entry_results import EntryResults
from embedder.core.request import EmbedOptions
from embedder.core.types import Input, Priority, Timings, Truncate
from tests.unit.core.test_types import assert_rows, entries

KEYS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=20)


def named(keys: list[bytes], prompt: str = "") -> DistinctInputs:
    """Return distinct inputs whose texts are their keys."""
    inputs = [key.decode() for key in keys]
    return DistinctInputs.of(keys, inputs, prompt, Truncate.END)


def test_default_options_are_interactive_and_normalized() -> None:
    options = EmbedOptions()

    assert options.prompt is options.prompt_name is options.input_type is None
    assert options.truncate is None
    assert options.dimensions is None
    assert options.normalize
    assert options.priority is Priority.INTERACTIVE
    assert options.timeout_s is None


def test_the_first_row_of_every_key_is_kept() -> None:
    distinct = named([b"x", b"y", b"x", b"z", b"y"])

    assert distinct.keys == [b"x", b"y", b"z"]
    assert distinct.rows == [0, 1, 3]


@given(KEYS)
def test_every_key_is_kept_once(keys: list[bytes]) -> None:
    distinct = named(keys)

    assert sorted(distinct.keys) == sorted(set(keys))
    assert [keys[row] for row in distinct.rows] == distinct.keys
    assert all(
        keys.index(key) == row for key, row in zip(distinct.keys, distinct.rows, strict=True)
    )


@given(KEYS)
def test_expand_returns_the_number_of_each_key(keys: list[bytes]) -> None:
    distinct = named(keys)
    back = distinct.expand(keys)

    assert [distinct.keys[number] for number in back] == keys


@given(KEYS, st.data())
def test_a_subset_keeps_the_rows_of_the_request(keys: list[bytes], data: st.DataObject) -> None:
    distinct = named(keys)
    numbers = (
        data.draw(st.lists(st.sampled_from(range(len(distinct.keys))), unique=True))
        if (keys)
        else []
    )
    part = distinct.subset(numbers)

    assert part.keys == [distinct.keys[number] for number in numbers]
    assert part.rows == [keys.index(key) for key in part.keys]
    assert part.inputs == [key.decode() for key in part.keys]


def test_a_subset_of_a_subset_keeps_the_rows_of_the_request() -> None:
    part = named([b"a", b"b", b"c", b"d"]).subset([1, 2, 3]).subset([2, 0])

    assert part.rows == [3, 1]
    assert part.inputs == ["d", "b"]


def test_a_prompt_is_added_to_texts_and_not_to_ids() -> None:
    inputs: list[Input] = ["text", [5, 6], (7,)]
    keys = [b"1", b"2", b"3"]
    distinct = DistinctInputs.of(keys, inputs, "query: ", Truncate.END)

    assert distinct.inputs == ["query: text", [5, 6], (7,)]


def test_a_subset_keeps_the_prompt() -> None:
    part = named([b"a", b"b", b"c"], "x ").subset([2])

    assert part.inputs == ["x c"]


@given(st.integers(1, 7), st.data())
def test_results_of_hits_are_filled_and_marked_as_cached(count: int, data: st.DataObject) -> None:
    found = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    hits = CacheHits(np.array(found, np.intp), entries(7).take(np.array(found, np.intp)))

    results = EntryResults.of_hits(hits, count, 3)

    assert results.cached.tolist() == [row in found for row in range(count)]
    assert results.missing() == [row for row in range(count) if row not in found]
    assert_rows(results.entries.take(np.array(found, np.intp)), found)


@given(st.integers(1, 7), st.data())
def test_missing_rows_are_filled_beside_the_hits(count: int, data: st.DataObject) -> None:
    found = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    hits = CacheHits(np.array(found, np.intp), entries(7).take(np.array(found, np.intp)))
    results = EntryResults.of_hits(hits, count, 3)
    missing = results.missing()

    results.fill(missing, entries(7).take(np.array(missing, np.intp)))

    assert_rows(results.entries, list(range(count)))


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

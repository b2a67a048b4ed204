"""Packed arrays hold what was put into them, in order."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.core.types import (
    CacheHits,
    Encoded,
    Entries,
    EntryResults,
    InputType,
    Timings,
    TokenBatch,
)
from tests.unit.fake_model import MODEL

TOKENS = st.integers(0, 2**31 - 1)
ROWS = st.lists(st.lists(TOKENS, max_size=6), max_size=8)
EMPTY: st.SearchStrategy[list[int]] = st.just([])


def _lists(batch: TokenBatch) -> list[list[int]]:
    return [row.tolist() for row in batch.rows()]


@given(ROWS)
def test_a_batch_gives_back_the_rows_it_was_made_of(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert _lists(batch) == rows
    assert len(batch) == len(rows)
    assert batch.ids.tolist() == [token for row in rows for token in row]
    assert batch.lengths.tolist() == [len(row) for row in rows]
    assert batch.ids.dtype == batch.lengths.dtype == np.int32


@given(ROWS)
def test_rows_are_views_that_copy_nothing(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert all(row.base is not None for row in batch.rows())
    assert all(np.shares_memory(row, batch.ids) for row in batch.rows() if len(row))


@given(ROWS, st.data())
def test_taking_rows_of_a_batch_takes_those_rows_in_that_order(
    rows: list[list[int]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=10) if rows else EMPTY)

    taken = TokenBatch.of(rows).take(np.array(chosen, np.intp))

    assert _lists(taken) == [rows[number] for number in chosen]


@given(ROWS)
def test_taking_every_row_in_order_costs_nothing(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert batch.take(np.arange(len(rows))) is batch


def _entries(count: int, first: int = 0) -> Entries:
    numbers = np.arange(first, first + count)
    return Entries(
        np.repeat(numbers[:, None], 3, axis=1).astype(np.float32),
        numbers.astype(np.int32),
        numbers % 2 == 1,
    )


def _arrays(entries: Entries) -> list[NDArray[Any]]:
    return [entries.vectors, entries.token_counts, entries.truncated]


def _assert_rows(entries: Entries, numbers: list[int]) -> None:
    assert entries.vectors.tolist() == [[number] * 3 for number in numbers]
    assert entries.token_counts.tolist() == numbers
    assert entries.truncated.tolist() == [number % 2 == 1 for number in numbers]


def test_allocated_entries_have_room_for_every_row() -> None:
    table = Entries.allocate(5, 3)

    assert len(table) == 5
    assert [array.shape for array in _arrays(table)] == [(5, 3), (5,), (5,)]
    assert [array.dtype for array in _arrays(table)] == [np.float32, np.int32, np.bool_]


@given(st.lists(st.integers(0, 6), max_size=12))
def test_taken_entries_are_copies_of_the_rows_asked_for(chosen: list[int]) -> None:
    table = _entries(7)

    taken = table.take(np.array(chosen, np.intp))
    table.vectors[:] = -1

    _assert_rows(taken, chosen)


@given(st.permutations(range(7)), st.integers(0, 7))
def test_putting_entries_overwrites_exactly_the_rows_named(order: list[int], count: int) -> None:
    table = _entries(7)
    chosen = order[:count]

    table.put(np.array(chosen, np.intp), _entries(count, first=100))

    expected = list(range(7))
    for number, row in enumerate(chosen):
        expected[row] = 100 + number
    _assert_rows(table, expected)


@given(st.integers(1, 7), st.data())
def test_answers_of_hits_are_filled_and_marked_where_a_cache_had_them(
    count: int, data: st.DataObject
) -> None:
    found = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    hits = CacheHits(np.array(found, np.intp), _entries(7).take(np.array(found, np.intp)))

    answers = EntryResults.of_hits(hits, count, 3)

    assert answers.cached.tolist() == [row in found for row in range(count)]
    assert answers.missing() == [row for row in range(count) if row not in found]
    _assert_rows(answers.entries.take(np.array(found, np.intp)), found)


def test_putting_answers_overwrites_the_rows_named_with_the_rows_asked_for() -> None:
    into = EntryResults(_entries(4), np.zeros(4, np.bool_))
    source = EntryResults(_entries(3, first=100), np.array([True, False, True]))

    into.put(np.array([3, 0], np.intp), source, np.array([0, 1], np.intp))

    _assert_rows(into.entries, [101, 1, 2, 100])
    assert into.cached.tolist() == [False, False, False, True]


def test_putting_answers_keeps_the_longest_time_of_each_part() -> None:
    into = EntryResults(_entries(2), np.zeros(2, np.bool_))
    row = np.array([0], np.intp)
    for times in (Timings(1, 5, 2), Timings(2, 1, 2), Timings()):
        into.put(row, EntryResults(_entries(2), np.zeros(2, np.bool_), times), row)

    assert into.timings == Timings(tokenization_s=2, queue_s=5, inference_s=2)


def test_answers_of_hits_took_no_time() -> None:
    hits = CacheHits(np.array([0], np.intp), _entries(1))

    assert EntryResults.of_hits(hits, 2, 3).timings == Timings(0.0, 0.0, 0.0)


def test_what_an_encoder_answers_travels_between_processes() -> None:
    sent = Encoded(np.ones((2, 3), np.float32), 0.5, 0.25)

    came = pickle.loads(pickle.dumps(sent, protocol=5))

    assert came.vectors.tobytes() == sent.vectors.tobytes()
    assert (came.queue_s, came.inference_s) == (0.5, 0.25)


def test_a_kind_of_input_is_read_from_its_word() -> None:
    assert [InputType("query"), InputType("document")] == list(InputType)
    with pytest.raises(ValueError, match="passage"):
        InputType("passage")


def test_what_is_known_of_a_model_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(MODEL)) == MODEL


def test_a_model_needs_no_prompts_and_is_compared_by_cosine() -> None:
    assert MODEL.prompts == {}
    assert MODEL.default_prompt is None
    assert (MODEL.similarity, MODEL.notes) == ("cosine", ())

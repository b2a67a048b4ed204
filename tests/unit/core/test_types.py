"""Packed arrays return the rows that they were made of, in order."""

from __future__ import annotations

import pickle
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.core.entries.entries import Entries
from embedder.core.pairs import ChunkTokens, PairRow
from embedder.core.types import Encoded, InputType, ReplicaLoad, TokenBatch
from tests.unit.fake_model import MODEL

TOKENS = st.integers(0, 2**31 - 1)
ROWS = st.lists(st.lists(TOKENS, max_size=6), max_size=8)
EMPTY: st.SearchStrategy[list[int]] = st.just([])


def _lists(batch: TokenBatch) -> list[list[int]]:
    return [row.tolist() for row in batch.rows()]


@given(ROWS)
def test_a_batch_returns_the_rows_it_was_made_of(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert _lists(batch) == rows
    assert len(batch) == len(rows)
    assert batch.ids.tolist() == [token for row in rows for token in row]
    assert batch.lengths.tolist() == [len(row) for row in rows]
    assert batch.ids.dtype == batch.lengths.dtype == np.int32


@given(ROWS)
def test_rows_are_views(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert all(row.base is not None for row in batch.rows())
    assert all(np.shares_memory(row, batch.ids) for row in batch.rows() if len(row))


@given(ROWS, st.data())
def test_taking_rows_returns_them_in_the_given_order(
    rows: list[list[int]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=10) if rows else EMPTY)

    taken = TokenBatch.of(rows).take(np.array(chosen, np.intp))

    assert _lists(taken) == [rows[number] for number in chosen]


@given(ROWS)
def test_taking_every_row_in_order_copies_nothing(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows)

    assert batch.take(np.arange(len(rows))) is batch


def test_an_id_beyond_the_type_is_refused() -> None:
    with pytest.raises(OverflowError):
        TokenBatch.of([[1, 2**40]])


def entries(count: int, first: int = 0) -> Entries:
    numbers = np.arange(first, first + count)
    return Entries(
        np.repeat(numbers[:, None], 3, axis=1).astype(np.float32),
        numbers.astype(np.int32),
        numbers % 2 == 1,
    )


def _arrays(entries: Entries) -> list[NDArray[Any]]:
    return [entries.vectors, entries.token_counts, entries.truncated]


def assert_rows(entries: Entries, numbers: list[int]) -> None:
    assert entries.vectors.tolist() == [[number] * 3 for number in numbers]
    assert entries.token_counts.tolist() == numbers
    assert entries.truncated.tolist() == [number % 2 == 1 for number in numbers]


def test_allocated_entries_have_every_row() -> None:
    table = Entries.allocate(5, 3)

    assert len(table) == 5
    assert [array.shape for array in _arrays(table)] == [(5, 3), (5,), (5,)]
    assert [array.dtype for array in _arrays(table)] == [np.float32, np.int32, np.bool_]


@given(st.lists(st.integers(0, 6), max_size=12))
def test_taken_entries_are_copies_of_the_given_rows(chosen: list[int]) -> None:
    table = entries(7)

    taken = table.take(np.array(chosen, np.intp))
    table.vectors[:] = -1

    assert_rows(taken, chosen)


@given(st.permutations(range(7)), st.integers(0, 7))
def test_put_overwrites_exactly_the_given_rows(order: list[int], count: int) -> None:
    table = entries(7)
    chosen = order[:count]

    table.put(np.array(chosen, np.intp), entries(count, first=100))

    expected = list(range(7))
    for number, row in enumerate(chosen):
        expected[row] = 100 + number
    assert_rows(table, expected)


def test_encoded_vectors_can_be_pickled() -> None:
    sent = Encoded(np.ones((2, 3), np.float32), 0.5, 0.25, ReplicaLoad("r", 7, 8.5))

    came = pickle.loads(pickle.dumps(sent, protocol=5))

    assert came.vectors.tobytes() == sent.vectors.tobytes()
    assert (came.queue_s, came.inference_s, came.load) == (0.5, 0.25, ReplicaLoad("r", 7, 8.5))


def test_an_input_type_is_parsed_from_its_name() -> None:
    names = ["query", "document", "classification", "clustering"]
    assert list(map(InputType, names)) == list(InputType)
    with pytest.raises(ValueError, match="passage"):
        InputType("passage")


def test_a_model_description_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(MODEL)) == MODEL


def test_a_model_has_no_prompts_and_the_cosine_by_default() -> None:
    assert MODEL.prompts == {}
    assert MODEL.default_prompt is None
    assert (MODEL.similarity, MODEL.notes) == ("cosine", ())


IDS = st.lists(st.integers(0, 9), max_size=4).map(lambda ids: np.array(ids, np.int32))
PAIRS = IDS.map(lambda ids: PairRow(ids, (ids % 2).astype(np.int8)))
PACKED: st.SearchStrategy[list[NDArray[np.int32] | PairRow]] = st.lists(IDS | PAIRS, max_size=6)


def _listed(batch: TokenBatch) -> list[tuple[list[int], list[int] | None]]:
    return [
        (row.ids.tolist(), row.types.tolist()) if isinstance(row, PairRow) else (row.tolist(), None)
        for row in batch.items()
        if not isinstance(row, ChunkTokens)
    ]


@given(PACKED, st.randoms())
def test_pairs_keep_their_types_in_every_selection(
    rows: list[NDArray[np.int32] | PairRow], random: Random
) -> None:
    batch = TokenBatch.of(rows)
    order = random.sample(range(len(rows)), len(rows))

    taken = batch.take(np.array(order, np.intp))

    assert (batch.types is None) == (not any(isinstance(row, PairRow) for row in rows))
    assert _listed(taken) == [_listed(batch)[row] for row in order]
    assert [row.tolist() for row in batch.rows()] == [ids for ids, _ in _listed(batch)]

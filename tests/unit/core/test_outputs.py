"""Tests of rows of different lengths, against lists of rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.outputs import RaggedRows

Row = list[tuple[int, float]]

SPARSE = st.lists(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(0, 9, width=32)), max_size=4),
    max_size=6,
)


def packed(rows: list[Row]) -> RaggedRows:
    """Return sparse rows of pairs of an id and a weight."""
    entries = [entry for row in rows for entry in row]
    return RaggedRows.of(
        np.array([weight for _, weight in entries], np.float32).reshape(-1, 1),
        np.array([len(row) for row in rows], np.int64),
        np.array([token for token, _ in entries], np.int32),
    )


def unpacked(ragged: RaggedRows) -> list[Row]:
    """Return the pairs of each row, cut by the offsets alone."""
    assert ragged.ids is not None
    pairs = list(zip(ragged.ids.tolist(), ragged.values[:, 0].tolist(), strict=True))
    ends = ragged.offsets.tolist()
    return [pairs[start:stop] for start, stop in pairwise(ends)]


@given(SPARSE)
def test_rows_are_split_and_concatenated_again(rows: list[Row]) -> None:
    ragged = packed(rows)
    alone = ragged.split()

    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert [unpacked(each) for each in alone] == [[row] for row in rows]
    assert not rows or unpacked(RaggedRows.concatenate(alone)) == rows
    assert ragged.nbytes == 8 * sum(map(len, rows)) + 8 * (len(rows) + 1)


@given(SPARSE, st.data())
def test_rows_are_taken_in_any_order(rows: list[Row], data: st.DataObject) -> None:
    numbers = st.integers(0, max(len(rows) - 1, 0))
    chosen = data.draw(st.lists(numbers, max_size=8 if rows else 0))
    begin = data.draw(st.integers(0, len(rows)))

    assert unpacked(packed(rows).take(np.array(chosen, np.intp))) == [rows[row] for row in chosen]
    assert unpacked(packed(rows).take(slice(begin, None))) == rows[begin:]


@given(st.lists(st.integers(0, 3), max_size=5), st.integers(1, 3))
def test_token_vectors_have_no_ids(lengths: list[int], width: int) -> None:
    values = np.arange(sum(lengths) * width, dtype=np.float32).reshape(-1, width)
    ragged = RaggedRows.of(values, np.array(lengths, np.int64))
    reversed_rows = ragged.take(np.arange(len(lengths))[::-1])

    assert (ragged.width, ragged.ids, reversed_rows.ids) == (width, None, None)
    expected = [row.values.tolist() for row in ragged.split()][::-1]
    assert [row.values.tolist() for row in reversed_rows.split()] == expected


def test_taken_rows_are_copies() -> None:
    ragged = packed([[(1, 1.0)], [(2, 2.0)]])
    ragged.take(slice(0, 2)).values[:] = 0

    assert ragged.values.tolist() == [[1.0], [2.0]]


def test_a_row_beyond_the_last_is_refused() -> None:
    with pytest.raises(IndexError):
        packed([[(1, 1.0)]]).take(np.array([1], np.intp))

"""Inputs lie in rows without overlap, and few places are free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.backends.openvino.row_layout import ROW_TOKENS, STEP, RowLayout, lay_out

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=60)


def _lay_out(lengths: list[int]) -> RowLayout:
    return lay_out(np.array(lengths, np.int32))


def _is_a_known_shape(layout: RowLayout) -> bool:
    return layout.length % (STEP if layout.length > 64 else 8) == 0


@given(LENGTHS)
def test_each_input_has_places_of_its_own_in_one_row(lengths: list[int]) -> None:
    layout = _lay_out(lengths)

    places = [set(range(at, at + n)) for at, n in zip(layout.starts, lengths, strict=True)]

    assert len(set.union(*places)) == sum(lengths)
    assert all(min(own) // layout.length == max(own) // layout.length for own in places)
    assert max(map(max, places)) < layout.rows * layout.length
    assert _is_a_known_shape(layout)


@given(st.lists(st.integers(1, ROW_TOKENS // 4), min_size=40, max_size=90))
def test_short_inputs_leave_few_places_free(lengths: list[int]) -> None:
    layout = _lay_out(lengths)

    # Best fit leaves no two rows half empty.
    assert layout.rows * layout.length <= 2 * (sum(lengths) + layout.length)


@given(st.lists(st.integers(1, ROW_TOKENS), min_size=1, max_size=9))
def test_inputs_that_fit_share_one_row(lengths: list[int]) -> None:
    layout = _lay_out(lengths)

    assert (layout.rows == 1) or sum(lengths) > ROW_TOKENS
    assert layout.starts[0] == 0 or layout.rows > 1


@pytest.mark.parametrize(
    ("lengths", "rows", "length"),
    [
        ([1], 1, 8),
        ([8], 1, 8),
        ([64], 1, 64),
        ([65], 1, 80),
        ([ROW_TOKENS], 1, ROW_TOKENS),
        ([ROW_TOKENS, 1], 2, ROW_TOKENS),
        ([ROW_TOKENS // 2] * 3, 3, ROW_TOKENS // 2),
        ([512, 3], 2, 512),
        ([500, 3], 1, 512),
        ([70] * 24, 24, 80),
    ],
)
def test_the_smallest_rectangle_is_chosen(lengths: list[int], rows: int, length: int) -> None:
    layout = _lay_out(lengths)

    assert (layout.rows, layout.length) == (rows, length)

"""Groups hold every row once, and pad by at most the slack."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.backends.grouping import SLACK, SLACK_TOKENS, Group, group_by_length

LENGTHS = st.lists(st.integers(1, 60), max_size=25)


def _group(lengths: list[int]) -> list[Group]:
    return group_by_length(np.array(lengths, np.int32))


def _packed_rows(lengths: list[int]) -> list[list[int]]:
    """Return the numbers of every input's packed rows."""
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    return [list(range(start, start + size)) for start, size in zip(starts, lengths, strict=True)]


@given(LENGTHS)
@example([])
@example([1])
def test_every_packed_row_is_in_exactly_one_valid_place(lengths: list[int]) -> None:
    placed = [row for group in _group(lengths) for row in group.rows[group.valid].tolist()]

    assert sorted(placed) == list(range(sum(lengths)))


@given(LENGTHS)
def test_a_line_of_a_block_is_one_input_from_its_first_row(lengths: list[int]) -> None:
    lines = [
        line[valid].tolist()
        for group in _group(lengths)
        for line, valid in zip(group.rows, group.valid, strict=True)
    ]

    assert sorted(lines) == _packed_rows(lengths)


@given(LENGTHS)
def test_the_valid_places_of_a_line_come_first(lengths: list[int]) -> None:
    for group in _group(lengths):
        ends = group.valid.sum(axis=1)

        assert (group.valid == (np.arange(group.valid.shape[1]) < ends[:, None])).all()


@given(LENGTHS)
def test_padding_repeats_the_first_row_of_its_input(lengths: list[int]) -> None:
    for group in _group(lengths):
        beyond = np.where(group.valid, group.rows[:, :1], group.rows)

        assert (beyond == group.rows[:, :1]).all()


@given(LENGTHS)
def test_no_block_is_wider_than_the_slack_allows(lengths: list[int]) -> None:
    for group in _group(lengths):
        sizes = group.valid.sum(axis=1)

        assert group.rows.shape == group.valid.shape == (len(sizes), sizes.max())
        assert sizes.max() <= sizes.min() * SLACK + SLACK_TOKENS


@given(st.lists(st.integers(16, 512), min_size=1, max_size=60))
def test_all_blocks_together_have_little_padding(lengths: list[int]) -> None:
    """For inputs of at least 16 tokens."""
    places = sum(group.rows.size for group in _group(lengths))

    assert places <= SLACK * sum(lengths) + SLACK_TOKENS * len(lengths)


@given(LENGTHS)
def test_a_group_is_full_only_without_padding(lengths: list[int]) -> None:
    for group in _group(lengths):
        assert group.full == (len({*group.valid.sum(axis=1).tolist()}) == 1)


@given(st.integers(1, 60), st.integers(1, 20))
def test_inputs_of_one_length_are_one_block_without_padding(length: int, count: int) -> None:
    groups = _group([length] * count)

    assert [group.rows.shape for group in groups] == [(count, length)]
    assert groups[0].full


@given(LENGTHS)
def test_the_number_of_blocks_depends_on_the_range_of_lengths_only(lengths: list[int]) -> None:
    assert len(_group(lengths * 3)) == len(_group(lengths))


@given(LENGTHS)
def test_the_inputs_of_a_group_by_length_are_its_rows_in_order(lengths: list[int]) -> None:
    for group in _group(lengths):
        parts = list(group.by_length())

        rows = np.concatenate([part.rows.reshape(-1) for part in parts])
        assert (rows == group.rows[group.valid]).all()
        found = [part.rows.shape[1] for part in parts]
        assert found == sorted({*group.valid.sum(axis=1).tolist()})
        assert all(part.full and part.valid.all() and not part.masked for part in parts)

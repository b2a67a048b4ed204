"""The tokens of each chunk, and the windows in which a long text is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.chunking.late import CONTEXT_SHARE, Window, spans_of, windows
from embedder.chunking.request import Chunk
from embedder.core.errors import InvalidInput


def _spans(*pairs: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(pairs, np.int64).reshape(-1, 2)


def test_a_token_belongs_to_the_chunks_whose_characters_it_has() -> None:
    # "ab cd ef": the tokens are "ab", " cd", " ", "e" and "f".
    offsets = _spans((0, 2), (2, 5), (5, 6), (6, 7), (7, 8))
    chunks = [Chunk(0, 5, 0), Chunk(3, 5, 0), Chunk(3, 8, 0), Chunk(6, 8, 0)]

    assert spans_of(chunks, offsets, "input[0]").tolist() == [[0, 2], [1, 2], [1, 5], [3, 5]]


def test_tokens_of_one_character_belong_to_it_together() -> None:
    offsets = _spans((0, 1), (0, 1), (0, 1), (1, 2))
    found = spans_of([Chunk(0, 1, 0), Chunk(1, 2, 0)], offsets, "input[0]")

    assert found.tolist() == [[0, 3], [3, 4]]


def test_a_chunk_without_tokens_is_refused() -> None:
    offsets = _spans((0, 1), (4, 5))
    with pytest.raises(InvalidInput, match=r"'input\[3\]' has a chunk .* characters 1 to 3"):
        spans_of([Chunk(0, 1, 0), Chunk(1, 3, 0)], offsets, "input[3]")


def test_a_text_within_the_limit_is_one_window() -> None:
    assert list(windows(_spans((0, 4), (3, 8)), 8, 8)) == [Window(0, 8, 0, 2)]
    assert list(windows(_spans(), 8, 8)) == []


def test_a_longer_text_is_read_in_windows_that_overlap() -> None:
    spans = _spans(*((at, at + 4) for at in range(0, 40, 4)))

    assert list(windows(spans, 40, 16)) == [
        Window(0, 16, 0, 4),
        Window(12, 28, 4, 7),
        Window(24, 40, 7, 10),
    ]


def _chunk_spans(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans of at most 8 tokens, in order of start and stop, with gaps or overlaps."""
    spans, start, end = [], 0, 0
    for step, length in steps:
        start += step
        end = max(end, start + length)
        start = max(start, end - 8)
        spans.append((start, end))
    return spans


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 8)), max_size=20), st.integers(8, 20))
def test_each_chunk_is_whole_in_one_window_with_the_text_before_it(
    steps: list[tuple[int, int]], room: int
) -> None:
    spans = _chunk_spans(steps)
    count = spans[-1][1] if spans else 0
    found = list(windows(_spans(*spans), count, room))

    assert [at for one in found for at in range(one.first, one.end)] == list(range(len(spans)))
    for one in found:
        first, end = spans[one.first]
        assert 0 <= one.start <= one.stop - min(room, count) == one.start
        assert all(one.start <= a < b <= one.stop for a, b in spans[one.first : one.end])
        assert first - one.start >= min(first, room // CONTEXT_SHARE, room - (end - first))

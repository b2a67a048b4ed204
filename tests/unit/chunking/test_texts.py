"""Options and texts are checked, and errors name the field and the limit."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.chunking.request import Chunk, ChunkOptions, ChunkTable, SplitTexts
from embedder.chunking.texts import by_text, chunk_texts, naming_texts, split_texts
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.pairs import ChunkTokens
from tests.unit.chunking.tokenizers import Rules

LETTERS = Rules(lambda text: 2 + len(text) + 9 * text.count("!"))


@pytest.mark.parametrize(
    "options",
    [
        ChunkOptions(8, 7),
        ChunkOptions(256, 0),
        ChunkOptions(256, 255, "sentences"),
    ],
)
def test_options_at_their_limits_are_valid(options: ChunkOptions) -> None:
    options.check(256)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ChunkOptions(7, 0), "'size' is 7; it must be a whole number from 8 to 256, "),
        (ChunkOptions(257, 0), "'size' is 257; it must be a whole number from 8 to 256, "),
        (ChunkOptions(8, 8), "'overlap' is 8; it must be a whole number from 0 to 7, "),
        (ChunkOptions(8, -1), "'overlap' is -1; it must be a whole number from 0 to 7, "),
        (ChunkOptions(8.5, 0), "'size' is 8.5; "),  # type: ignore[arg-type]
        (ChunkOptions(8, True), "'overlap' is True; "),
        (
            ChunkOptions(8, 0, "words"),  # type: ignore[arg-type]
            "'boundaries' is 'words'; it must be 'tokens' or 'sentences'",
        ),
    ],
)
def test_options_beyond_their_limits_are_refused(options: ChunkOptions, problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        options.check(256)

    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("", "'input[1]' must have a character that is not white space"),
        (" \n\u3000", "'input[1]' must have a character that is not white space"),
        ([5, 6], "'input[1]' is of type list; only a text has chunks"),
    ],
)
def test_an_input_without_chunks_is_refused(item: str | list[int], problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        split_texts(["abc", item], LETTERS, ChunkOptions(8, 0))

    assert str(refused.value) == problem


def test_a_character_above_the_limit_is_refused_with_the_row_of_its_text() -> None:
    with pytest.raises(LimitExceeded, match=r"'input\[1\]' has 12 tokens in character 2, .* is 8"):
        split_texts(["abc", "ab!"], LETTERS, ChunkOptions(8, 0))


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    prompted = Rules(lambda text: 8 + len(text))
    with pytest.raises(InvalidInput, match=r"'size' is 8; the prompt .* alone have 8 tokens"):
        split_texts(["abc"], prompted, ChunkOptions(8, 0))

    assert len(split_texts(["abc"], prompted, ChunkOptions(9, 0))[0]) == 3


def test_vectors_are_grouped_by_text() -> None:
    texts = ["abcdefgh", " x "]
    chunks = split_texts(texts, LETTERS, ChunkOptions(8, 0))
    first, second = by_text(chunks, np.arange(6, dtype=np.float32).reshape(3, 2))

    assert first.chunks == [Chunk(0, 6, 8), Chunk(6, 8, 4)]
    assert second.chunks == [Chunk(1, 2, 3)]
    assert chunk_texts(texts, chunks) == ["abcdef", "gh", "x"]
    assert first.vectors.tolist() == [[0, 1], [2, 3]]
    assert second.vectors.tolist() == [[4, 5]]
    assert by_text([], np.empty((0, 2), np.float32)) == []


def test_texts_have_no_more_chunks_together_than_the_limit() -> None:
    texts, options = ["abcdefgh", "x", "abcdefghijklmn"], ChunkOptions(8, 0)
    with pytest.raises(LimitExceeded) as refused:
        split_texts(texts, LETTERS, options, most=5)

    assert refused.value.args == (
        "input[2]",
        "or more chunks, with those of the inputs before",
        6,
        5,
    )
    assert len(split_texts(texts, LETTERS, options, most=6)[2]) == 3


def test_the_work_ends_with_the_first_chunk_beyond_the_limit() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    text = "a b c d e f g h " * 1000
    with pytest.raises(LimitExceeded):
        split_texts([text], Rules(count), ChunkOptions(8, 7), most=5)

    assert len(counted) < 40


def test_an_error_about_a_chunk_names_its_text() -> None:
    chunks = split_texts(["abcdefgh", "x", "yz"], LETTERS, ChunkOptions(8, 0))
    named = []
    for chunk in range(4):
        with pytest.raises(InvalidInput) as refused, naming_texts(chunks):
            raise InvalidInput(f"input[{chunk}].part", "is wrong")
        named.append(refused.value.field)
    with pytest.raises(InvalidInput, match="'dimensions' is wrong"), naming_texts(chunks):
        raise InvalidInput("dimensions", "is wrong")

    assert named == ["input[0].part", "input[0].part", "input[1].part", "input[2].part"]


def test_a_table_has_the_chunks_of_each_text() -> None:
    chunks = [[Chunk(0, 6, 8), Chunk(6, 8, 4)], [], [Chunk(1, 2, 3)]]

    assert ChunkTable.of(SplitTexts(chunks)).split() == SplitTexts(chunks)
    assert ChunkTable.of(SplitTexts([], [])).split() == SplitTexts([], [])


def test_a_table_has_the_windows_of_late_chunking() -> None:
    windows = [
        ChunkTokens(np.array([1, 2, 3], np.int32), np.array([[0, 2], [1, 3]], np.int32)),
        ChunkTokens(np.array([4], np.int32), np.array([[0, 1]], np.int32)),
    ]
    found = ChunkTable.of(SplitTexts([[Chunk(0, 1, 3)]], windows)).split().windows

    assert found is not None
    assert [(one.ids.tolist(), one.spans.tolist()) for one in found] == [
        ([1, 2, 3], [[0, 2], [1, 3]]),
        ([4], [[0, 1]]),
    ]

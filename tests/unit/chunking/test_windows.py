"""Chunks have at most the allowed tokens and lose no character, for every kind of tokenizer."""

from __future__ import annotations

from itertools import pairwise

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.chunking.request import Boundaries, Chunk, ChunkOptions
from embedder.chunking.windows import split
from embedder.core.errors import LimitExceeded
from tests.unit.chunking.tokenizers import Rules, Tokens, byte_level, unigram, word_piece

WORD_PIECE = Tokens(word_piece())
UNIGRAM = Tokens(unigram())
TOKENIZERS = {
    "word pieces": WORD_PIECE,
    "word pieces with a prompt": Tokens(word_piece(), "query: "),
    "bytes": Tokens(byte_level()),
    "unigram": UNIGRAM,
}
FAMILY = "👨\u200d👩\u200d👧\u200d👦"
WORDS = (
    "a",
    "abab",
    "unbelievable.",
    "Yes!",
    "E\u0301té",
    "東京。京都",
    FAMILY,
    "🇯🇵🇫🇷",
    "x" * 120,
    "[SEP]",
    "\u200b",
    "\u0308\u0308",
    "\n\n",
    "ﷺ",
    "각",
)
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join) | st.text(max_size=60)


@st.composite
def some_options(draw: st.DrawFn) -> ChunkOptions:
    size = draw(st.integers(16, 40))
    boundaries: Boundaries = draw(st.sampled_from(["tokens", "sentences"]))
    return ChunkOptions(size, draw(st.integers(0, size - 1)), boundaries)


def texts_of(text: str, chunks: list[Chunk]) -> list[str]:
    return [text[chunk.start : chunk.stop] for chunk in chunks]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())
@given(text=TEXTS, options=some_options())
@example(text="a" + "\u0308" * 100, options=ChunkOptions(16, 4))
def test_chunks_of_any_text(tokenizer: Tokens, text: str, options: ChunkOptions) -> None:
    chunks = split(text, tokenizer, options)

    for chunk, part in zip(chunks, texts_of(text, chunks), strict=True):
        assert part == part.strip() != ""
        assert tokenizer.count(part) == chunk.tokens <= options.size
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.stop < after.stop
        assert options.overlap or before.stop <= after.start
    covered = {at for chunk in chunks for at in range(chunk.start, chunk.stop)}
    assert {at for at, character in enumerate(text) if not character.isspace()} <= covered
    if tokenizer is not UNIGRAM:  # its bytes of several characters have the same offsets
        assert shared_tokens(tokenizer, text, chunks) <= options.overlap
    assert not split_clusters(tokenizer, text, chunks, options)


def shared_tokens(tokenizer: Tokens, text: str, chunks: list[Chunk]) -> int:
    """Return the most tokens of the whole text that two chunks share; a token counts at its end."""
    ends = [max(stop - 1, 0) for _, stop in tokenizer.offsets(text).tolist()]
    shared = [
        sum(after.start <= end < before.stop for end in ends) for before, after in pairwise(chunks)
    ]
    return max(shared, default=0)


def split_clusters(
    tokenizer: Tokens, text: str, chunks: list[Chunk], options: ChunkOptions
) -> list[str]:
    """Return the grapheme clusters that a chunk divides although each fits into a chunk."""
    cuts = {at for chunk in chunks for at in (chunk.start, chunk.stop)}
    return [
        match[0]
        for match in regex.finditer(r"\X", text)
        if cuts & set(range(match.start() + 1, match.end()))
        and not any(map(str.isspace, match[0]))
        and tokenizer.count(match[0]) <= options.size
    ]


SHORT_WORDS = st.lists(st.sampled_from(["the", "letter", "unbelievable", "hugging"]), max_size=40)


@given(words=SHORT_WORDS, size=st.integers(8, 20), overlap=st.integers(0, 7))
def test_chunks_have_as_many_words_as_fit_and_repeat_as_many_as_allowed(
    words: list[str], size: int, overlap: int
) -> None:
    text = "  ".join(words)
    chunks = split(text, WORD_PIECE, ChunkOptions(size, overlap))

    parts = [part.split() for part in texts_of(text, chunks)]
    assert parts == packed(words, WORD_PIECE, size, overlap)


@given(
    sentences=st.lists(
        st.sampled_from(["Yes!", "It rained all day.", "Anna wrote.", "雨が降った。"]), max_size=20
    ),
    size=st.integers(10, 24),
    overlap=st.integers(0, 9),
)
def test_chunks_have_whole_sentences_where_each_fits(
    sentences: list[str], size: int, overlap: int
) -> None:
    text = "\n".join(sentences)
    chunks = split(text, WORD_PIECE, ChunkOptions(size, overlap, "sentences"))

    parts = [part.split("\n") for part in texts_of(text, chunks)]
    assert parts == packed(sentences, WORD_PIECE, size, overlap)


def packed(units: list[str], tokenizer: Tokens, size: int, overlap: int) -> list[list[str]]:
    """Return the units of each chunk: the plain algorithm, one unit after the other."""
    chunks, start, stop = [], 0, 0
    while stop < len(units):
        before = stop
        while stop < len(units) and tokenizer.count(" ".join(units[start : stop + 1])) <= size:
            stop += 1
        if stop > before:
            chunks.append(units[start:stop])
            first, start = start, stop
            while start > first + 1 and tokenizer.content(" ".join(units[start - 1 : stop])) <= (
                overlap
            ):
                start -= 1
        else:
            start += 1  # with one unit less of overlap, the next may fit
    return chunks


def test_a_sentence_above_the_limit_is_split_between_words() -> None:
    text = "Yes! " + "the letter of Anna " * 4 + "came. No!"
    chunks = split(text, WORD_PIECE, ChunkOptions(12, 3, "sentences"))

    assert texts_of(text, chunks) == [
        "Yes!",
        "the letter of Anna the letter of Anna the letter",
        "Anna the letter of Anna the letter of Anna",
        "letter of Anna came. No!",
    ]


def test_a_word_above_the_limit_is_split_between_tokens_and_grapheme_clusters() -> None:
    bytes_ = Tokens(byte_level())
    text = FAMILY * 3 + "e\u0301e\u0301"
    chunks = split(text, bytes_, ChunkOptions(30, 0))

    assert texts_of(text, chunks) == [FAMILY, FAMILY, FAMILY + "e\u0301", "e\u0301"]


def test_a_grapheme_cluster_above_the_limit_is_split_between_characters() -> None:
    chunks = split(FAMILY, Tokens(byte_level()), ChunkOptions(12, 0))

    assert "".join(texts_of(FAMILY, chunks)) == FAMILY
    assert all(chunk.tokens <= 12 for chunk in chunks)


@given(st.text("ab \n", max_size=80), st.integers(1, 6), st.integers(8, 12), st.integers(0, 7))
def test_wrong_predictions_change_neither_the_limit_nor_the_range(
    text: str, length: int, size: int, overlap: int
) -> None:
    """The tokens of a part may be more or fewer than those of the whole text predict."""
    tokenizer = Rules(lambda part: 2 + (len(part) * 7 + 9) // 10 + part.count("ba"), length)
    chunks = split(text, tokenizer, ChunkOptions(size, overlap))

    assert all(tokenizer.count(part) <= size for part in texts_of(text, chunks))
    covered = {at for chunk in chunks for at in range(chunk.start, chunk.stop)}
    assert {at for at, character in enumerate(text) if not character.isspace()} <= covered


def test_a_character_above_the_limit_is_refused() -> None:
    tokenizer = Rules(lambda text: 2 + len(text) + 9 * text.count("!"))
    with pytest.raises(LimitExceeded) as refused:
        split("abcd efgh! ijkl", tokenizer, ChunkOptions(8, 0))

    assert str(refused.value) == (
        "'input' has 12 tokens in character 9, special tokens and prompt included; the limit is 8"
    )


def test_a_text_that_fits_is_one_chunk_without_the_space_around_it() -> None:
    assert split("\n the letter ", WORD_PIECE, ChunkOptions(8, 0)) == [Chunk(2, 12, 4)]
    assert split(" \n", WORD_PIECE, ChunkOptions(8, 0)) == []


@pytest.mark.parametrize("extra", [0, 1])
def test_the_limit_is_exact(extra: int) -> None:
    text = " ".join(["the"] * (6 + extra))

    assert len(split(text, WORD_PIECE, ChunkOptions(8, 0))) == 1 + extra

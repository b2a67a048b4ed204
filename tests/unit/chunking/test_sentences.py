"""The ends of sentences are those of the rules of UAX #29, one test for each rule."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.chunking.sentences import sentence_ends


def split(text: str) -> list[str]:
    return [text[start:stop] for start, stop in pairwise([0, *sentence_ends(text)])]


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained. ", "Anna wrote."],
        ["Really?! ", "Yes! ", "No"],
        ["雨が降った。", "手紙を書いた。"],
        ["क्या? ", "हाँ। ", "ठीक"],
        ["one\n", "two\r\n", "three\u2029", "four\x85", "five\r", "six"],  # SB4
        ["a.\u0308 ", "B"],  # SB5
        ["It costs 3.40 in all. ", "Good."],  # SB6
        ["The U.S.A is large. ", "Yes."],  # SB7
        ["He came at 5 p.m. and left. ", "Good."],  # SB8
        ["etc.)’ (‘and so on). ", "Good."],  # SB8, through punctuation
        ["One., two. ", "Three"],  # SB8a
        ['She said "No." ', "(Yes.) ", "Then."],  # SB9
        ["End.  \n", "Next."],  # SB10
        ["Mr. ", "Smith came."],  # the rules know no abbreviations
        ["   "],
        [],
    ],
)
def test_each_rule(sentences: list[str]) -> None:
    assert split("".join(sentences)) == sentences


@given(st.text() | st.text('aA1 .!?,)"\n\r\u0308\u200d。', max_size=30))
def test_the_sentences_of_any_text_are_the_whole_text(text: str) -> None:
    sentences = split(text)

    assert "".join(sentences) == text
    assert all(sentences)


@pytest.mark.parametrize(
    "text",
    [". " * 50_000, ".)" * 50_000, "." + ")" * 100_000 + "a", "a" + "\u0308" * 100_000 + ".A"],
    ids=["spaces", "brackets", "one end", "marks"],
)
def test_repeated_punctuation_needs_no_repeated_scan(text: str) -> None:
    """A scan that restarts at each character would exceed the timeout of a test."""
    assert sentence_ends(text)[-1] == len(text)

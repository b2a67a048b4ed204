"""Texts are split into distinct sentences."""

from __future__ import annotations

from benchmarks.sentences import sentences


def test_each_sentence_of_three_words_is_taken_once_with_single_spaces() -> None:
    texts = ["One  two three. Four five! Six seven\neight?", "nine 3.5 ten; One two three."]

    assert sentences(texts) == ["One two three.", "Six seven eight?", "nine 3.5 ten;"]

"""The benchmark of cross-encoders ranks new texts of one length in every round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.reranking import Score, measure, texts, words_of
from embedder.core.types import Vectors
from tests.tiny_models import LETTERS, SPECIAL, write_tokenizer


def test_texts_have_so_many_tokens_and_are_new(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, SPECIAL, "[CLS] $A [SEP]")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    words = words_of(tokenizer)
    found = texts(words, 20, 30)

    assert words == list(LETTERS)
    assert len(set(found)) == 20
    assert {len(tokenizer.encode(text, add_special_tokens=False)) for text in found} == {30}


def test_every_contender_ranks_every_list_and_only_the_first_is_compared() -> None:
    ranked: list[tuple[str, str]] = []

    def contender(name: str, score: float) -> tuple[str, Score]:
        def scored(given: Sequence[str]) -> Vectors:
            ranked.append((name, given[0]))
            return np.array([score], np.float32)

        return name, scored

    contenders = dict([contender("one", 1.0), contender("two", 0.75)])
    rates, differences = measure(contenders, [["a"], ["b"], ["c"]])

    assert ranked == [(name, text) for text in "abc" for name in ("one", "two")]
    assert differences == {"one": 0.0, "two": 0.25}
    assert [len(measured) for measured in rates.values()] == [2, 2]

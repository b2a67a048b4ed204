"""No server gets the same text twice, and sentences have about 21 tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bench.inputs import SENTENCE_TOKENS, Supply, inputs_of
from benchmarks.texts import WORDS, distinct
from embedder.core.types import Truncate
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings


def test_a_supply_offers_the_same_texts_until_they_are_spent() -> None:
    supply = Supply(["a", "b", "c"])

    assert supply.offer(2) == supply.offer(2) == ["a", "b"]
    supply.spent(2)
    assert supply.offer(2) == ["c", f"a {WORDS[0]}"]


def test_a_supply_has_no_end_and_gives_no_text_twice() -> None:
    count = 3 * (1 + len(WORDS) + len(WORDS) ** 2) + 1

    texts = Supply(["a", "b", "c"]).offer(count)

    assert len(set(texts)) == count
    assert [len(texts[at].split()) for at in (2, 3, 3 * len(WORDS) + 2)] == [1, 2, 2]
    assert len(texts[-2].split()) == 3


def test_a_word_that_is_added_is_one_token() -> None:
    files = ModelFiles.open(ModelSettings(offline=True))
    tokens = load_tokenizer(files).encode(list(WORDS), truncate=Truncate.END).tokens

    assert set(tokens.lengths.tolist()) == {3}, "with the two special ones"


def test_sentences_have_their_length_and_the_pool_shares_no_text_with_the_kinds() -> None:
    files = ModelFiles.open(ModelSettings(offline=True))
    inputs = inputs_of(files, 64, seed=3, path=None)
    sentences, mixed = inputs.kinds

    lengths = load_tokenizer(files).encode(sentences.texts, truncate=Truncate.END).tokens.lengths
    least, most = SENTENCE_TOKENS
    assert len(sentences.texts) == len(mixed.texts) == 64
    assert least <= lengths.min() <= lengths.max() <= most
    assert sentences.tokens_a_text == pytest.approx(lengths.mean())
    assert 18 < inputs.pool.tokens_a_text < 23
    assert len(inputs.pool.texts) > 1000
    assert not set(inputs.pool.texts) & (set(sentences.texts) | set(inputs.compared))


def test_a_file_with_too_few_sentences_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"short {n}"}) + "\n" for n in range(50)))

    with pytest.raises(ValueError, match="only 0 texts have 16 to 26 tokens"):
        inputs_of(ModelFiles.open(ModelSettings(offline=True)), 10, seed=0, path=path)
    assert len(distinct(path)) == 50

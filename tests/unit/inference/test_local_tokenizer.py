"""The tokenizer of the default model, in threads of this process."""

from __future__ import annotations

import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import ConfigurationError
from embedder.core.types import Truncate
from embedder.inference.local import LocalTokenizer
from embedder.settings.model import ModelSettings


async def test_the_tokenizer_adds_the_special_tokens_of_the_model() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True))
    answer = await tokenizer.tokenize(
        ["hello world", "hello"], truncate=Truncate.END, deadline=NEVER
    )

    rows = [row.tolist() for row in answer.tokens.rows()]
    assert rows == [[101, 7592, 2088, 102], [101, 7592, 102]]
    assert answer.truncated.tolist() == [False, False]


async def test_the_tokenizer_tells_pieces_and_turns_ids_back_into_text() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True))
    (tokens,) = await tokenizer.tokenize_with_offsets(["Hello, world"], add_special_tokens=True)
    ids = [[token.id for token in tokens]]

    assert [token.text for token in tokens] == ["[CLS]", "Hello", ",", "world", "[SEP]"]
    assert await tokenizer.decode(ids, skip_special_tokens=True) == ["hello, world"]
    assert await tokenizer.decode(ids, skip_special_tokens=False) == ["[CLS] hello, world [SEP]"]


async def test_the_tokenizer_cuts_to_what_the_settings_allow() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True, max_tokens=4))
    answer = await tokenizer.tokenize(["hello " * 50], truncate=Truncate.END, deadline=NEVER)

    assert answer.tokens.rows()[0].tolist() == [101, 7592, 7592, 102]
    assert answer.truncated.tolist() == [True]


def test_the_tokenizer_answers_in_the_callers_thread_as_well() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True))

    assert tokenizer.encode(["hello"], truncate=Truncate.END).tokens.ids.tolist() == [
        101,
        7592,
        102,
    ]


def test_a_limit_without_room_for_a_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"max_seq_length in .* is 2; .* 2 special tokens"):
        LocalTokenizer.load(ModelSettings(offline=True, max_tokens=2))

"""Truncation keeps the special tokens and the limit, with the default model's tokenizer."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Split

from embedder.core.errors import BackendFailure, ConfigurationError, InvalidInput, UnsupportedModel
from embedder.core.request import PromptedText
from embedder.core.types import Input, Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

CLS, SEP = 101, 102
LIMIT = 8
DIRECTORY = ModelFiles.open(ModelSettings(offline=True)).source.directory
STATE = (DIRECTORY / "tokenizer.json").read_text()
TOKENIZER = FastTokenizer.load(STATE, max_tokens=LIMIT)
ORACLE = RustTokenizer.from_file(str(DIRECTORY / "tokenizer.json"))
ORACLE.no_padding()
ORACLE.no_truncation()

WORDS = ("the", "cat", "sat", "on", "a", "mat", "with", "its", "hat")
CUTTING = (Truncate.END, Truncate.START)
TEXTS = st.lists(st.sampled_from((*WORDS, "unbelievable", "été", "東京", "🙂", "x" * 200))).map(
    " ".join
) | st.text(max_size=20)


def _encode(item: Input, truncate: Truncate, tokenizer: FastTokenizer = TOKENIZER) -> list[int]:
    ids: list[int] = tokenizer.encode([item], truncate=truncate).tokens.ids.tolist()
    return ids


def _whole(text: str) -> list[int]:
    """Return the ids of the tokenizers library for a text, without truncation."""
    ids: list[int] = ORACLE.encode(text).ids
    return ids


@given(TEXTS)
def test_a_text_cut_at_its_end_keeps_its_first_tokens_between_the_special_ones(text: str) -> None:
    whole = _whole(text)

    assert _encode(text, Truncate.END) == [CLS, *whole[1:-1][: LIMIT - 2], SEP]


@given(TEXTS)
def test_a_text_cut_at_its_start_keeps_its_last_tokens_between_the_special_ones(text: str) -> None:
    whole = _whole(text)

    assert _encode(text, Truncate.START) == [CLS, *whole[1:-1][-(LIMIT - 2) :], SEP]


@given(TEXTS)
def test_a_text_that_may_not_be_cut_keeps_every_token(text: str) -> None:
    assert _encode(text, Truncate.NONE) == _whole(text)


@pytest.mark.parametrize("truncate", Truncate)
@pytest.mark.parametrize("count", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_only_texts_above_the_limit_are_marked_as_truncated(count: int, truncate: Truncate) -> None:
    text = " ".join(WORDS[: count - 2])
    cut = truncate is not Truncate.NONE and count > LIMIT

    answer = TOKENIZER.encode([text], truncate=truncate)

    assert len(_whole(text)) == count
    assert answer.truncated.tolist() == [cut]
    assert answer.tokens.lengths.tolist() == [LIMIT if cut else count]


@pytest.mark.parametrize("truncate", CUTTING)
def test_the_model_s_own_limit_is_reached_exactly(truncate: Truncate) -> None:
    limit = 256
    tokenizer = FastTokenizer.load(STATE, max_tokens=limit)

    ids = _encode("cat " * 5000, truncate, tokenizer)

    assert (len(ids), ids[0], ids[-1]) == (limit, CLS, SEP)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_without_room_beside_the_special_tokens_is_refused(limit: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"max_tokens .* is {limit};"):
        FastTokenizer.load(STATE, max_tokens=limit)


@given(st.lists(st.integers(0, 30_000), max_size=LIMIT), st.sampled_from(Truncate))
def test_ids_within_the_limit_pass_through_unchanged(ids: list[int], truncate: Truncate) -> None:
    answer = TOKENIZER.encode([ids], truncate=truncate)

    assert answer.tokens.ids.tolist() == ids
    assert answer.truncated.tolist() == [False]


@given(st.lists(st.integers(1000, 30_000), min_size=LIMIT + 1, max_size=20))
def test_ids_above_the_limit_are_cut_at_the_end_that_was_asked_for(ids: list[int]) -> None:
    assert _encode(ids, Truncate.END) == ids[:LIMIT]
    assert _encode(ids, Truncate.START) == ids[len(ids) - LIMIT :]
    assert _encode(ids, Truncate.NONE) == ids
    assert [
        TOKENIZER.encode([ids], truncate=truncate).truncated.item() for truncate in Truncate
    ] == [truncate in CUTTING for truncate in Truncate]


@given(st.text(max_size=60), st.sampled_from(CUTTING))
def test_the_ids_of_a_text_are_cut_as_the_text_is(text: str, truncate: Truncate) -> None:
    assert _encode(_whole(text), truncate) == _encode(text, truncate)


@given(st.sampled_from(["", "cat ", "the cat: ", "東京"]), TEXTS)
def test_cutting_the_start_keeps_the_prompt(prompt: str, text: str) -> None:
    kept = _whole(prompt)[:-1]
    joined = _whole(prompt + text)
    expected = joined
    if len(joined) > LIMIT:
        expected = [*kept, *joined[len(joined) - (LIMIT - len(kept)) :]]

    answer = TOKENIZER.encode([PromptedText.of(prompt, text)], truncate=Truncate.START)

    assert answer.tokens.ids.tolist() == expected
    assert answer.truncated.tolist() == [len(joined) > LIMIT]


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused_with_its_size() -> None:
    prompt = " ".join(WORDS[:7])

    with pytest.raises(InvalidInput) as caught:
        TOKENIZER.encode([PromptedText.of(prompt, " hat")], truncate=Truncate.START)

    assert str(caught.value) == (
        "'prompt' has 8 tokens, which leave no room for a text; the model reads 8"
    )


@given(st.lists(TEXTS | st.lists(st.integers(0, 30_000), max_size=12), max_size=6))
def test_an_input_has_the_same_tokens_alone_and_among_others(inputs: list[Input]) -> None:
    together = TOKENIZER.encode(inputs, truncate=Truncate.END)

    assert [row.tolist() for row in together.tokens.rows()] == [
        _encode(item, Truncate.END) for item in inputs
    ]


def test_threads_with_different_truncation_do_not_affect_each_other() -> None:
    numbers = random.Random(5)
    work = [
        ([" ".join(numbers.choices(WORDS, k=numbers.randint(1, 30))) for _ in range(20)], truncate)
        for truncate in list(Truncate) * 40
    ]
    alone = [
        TOKENIZER.encode(texts, truncate=truncate).tokens.ids.tolist() for texts, truncate in work
    ]

    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(
                lambda job: TOKENIZER.encode(job[0], truncate=job[1]).tokens.ids.tolist(), work
            )
        )

    assert together == alone


def test_a_text_for_which_the_vocabulary_has_no_token_is_a_failure_of_the_backend() -> None:
    rust = RustTokenizer(WordPiece({"the": 0, "cat": 1}, unk_token="[UNK]"))
    rust.pre_tokenizer = Split(" ", "removed")
    tokenizer = FastTokenizer.load(rust.to_str(), max_tokens=LIMIT)

    assert _encode("the cat", Truncate.END, tokenizer) == [0, 1]
    with pytest.raises(BackendFailure) as caught:
        _encode("the dog", Truncate.END, tokenizer)

    assert "[UNK]" in caught.value.reason


def test_padding_and_truncation_of_the_file_are_turned_off() -> None:
    rust = RustTokenizer.from_str(STATE)
    rust.enable_padding(length=64)
    rust.enable_truncation(3)

    tokenizer = FastTokenizer.load(rust.to_str(), max_tokens=LIMIT)
    ids = _encode("the cat sat", Truncate.NONE, tokenizer)

    assert ids == _whole("the cat sat")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}', "\x00"])
def test_invalid_tokenizer_content_is_refused(content: str) -> None:
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json is not a tokenizer"):
        FastTokenizer.load(content, max_tokens=LIMIT)

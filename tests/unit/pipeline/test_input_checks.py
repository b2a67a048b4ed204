"""An error names the field, the size and the limit; inputs within all limits pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.pairs import ChunkTokens, Pair
from embedder.core.types import Input, TokenBatch, Truncate
from embedder.pipeline.input_checks import check_inputs, check_tokens
from embedder.settings.model import LimitSettings

VOCABULARY = 50
LIMITS = LimitSettings(max_inputs=3, max_characters=5, max_request_tokens=12)
INPUTS: st.SearchStrategy[list[Input]] = st.lists(
    st.text(max_size=8) | st.lists(st.integers(-2, VOCABULARY + 2), max_size=8), max_size=5
)


def _check(inputs: list[Input], limits: LimitSettings | None = LIMITS) -> None:
    check_inputs(inputs, limits=limits, vocabulary_size=VOCABULARY)


def _acceptable(item: Input, most: float) -> bool:
    assert not isinstance(item, (Pair, ChunkTokens))
    known = isinstance(item, str) or set(item) <= set(range(VOCABULARY))
    return 0 < len(item) <= most and known


@given(INPUTS)
def test_exactly_the_inputs_within_all_limits_pass(inputs: list[Input]) -> None:
    if len(inputs) <= 3 and all(_acceptable(item, 5) for item in inputs):
        _check(inputs)
        return

    with pytest.raises(InvalidInput) as caught:
        _check(inputs)

    assert caught.value.field.startswith("input")


@given(INPUTS)
def test_without_limits_exactly_invalid_inputs_are_refused(inputs: list[Input]) -> None:
    if all(_acceptable(item, float("inf")) for item in inputs):
        _check(inputs, None)
        return

    with pytest.raises(InvalidInput) as caught:
        _check(inputs, None)

    assert not isinstance(caught.value, LimitExceeded)


@pytest.mark.parametrize(
    ("inputs", "field", "unit", "size", "limit"),
    [
        (["a"] * 4, "input", "items", 4, 3),
        (["a", "b" * 6], "input[1]", "characters", 6, 5),
        (["a", "b", [1] * 7], "input[2]", "token ids", 7, 5),
        (["é" * 6], "input[0]", "characters", 6, 5),
    ],
)
def test_an_input_above_a_limit_is_refused_with_its_size_and_the_limit(
    inputs: list[Input], field: str, unit: str, size: int, limit: int
) -> None:
    with pytest.raises(LimitExceeded) as caught:
        _check(inputs)

    assert caught.value.args == (field, unit, size, limit)


@pytest.mark.parametrize(
    ("inputs", "field", "word"),
    [
        (["a", ""], "input[1]", "empty"),
        (["a", []], "input[1]", "empty"),
        ([[1, 2], [0, 49, 50]], "input[1][2]", "50"),
        ([[-1]], "input[0][0]", "-1"),
    ],
)
def test_an_invalid_input_is_refused_with_its_row(
    inputs: list[Input], field: str, word: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _check(inputs)

    assert caught.value.field == field
    assert word in caught.value.problem


def _check_lengths(
    lengths: list[int],
    *,
    truncate: Truncate = Truncate.NONE,
    max_tokens: int = 6,
    limits: LimitSettings | None = LIMITS,
    first: int = 0,
) -> None:
    tokens = TokenBatch.of([[1] * length for length in lengths])
    numbers = range(first, first + len(lengths))
    check_tokens(tokens, numbers, truncate=truncate, max_tokens=max_tokens, limits=limits)


@given(st.lists(st.integers(1, 9), max_size=4), st.sampled_from(Truncate))
def test_exactly_the_token_counts_within_all_limits_pass(
    lengths: list[int], truncate: Truncate
) -> None:
    uncut = truncate is Truncate.NONE and any(length > 6 for length in lengths)
    if not uncut and sum(lengths) <= 12:
        _check_lengths(lengths, truncate=truncate)
        return

    with pytest.raises(LimitExceeded) as caught:
        _check_lengths(lengths, truncate=truncate)

    assert caught.value.limit == (6 if uncut else 12)


def test_an_input_that_must_not_be_truncated_is_named_by_its_row_in_the_request() -> None:
    with pytest.raises(LimitExceeded) as caught:
        _check_lengths([6, 7, 8], first=40)

    assert caught.value.args == ("input[41]", "tokens", 7, 6)


def test_an_input_without_tokens_is_refused_with_its_row() -> None:
    with pytest.raises(InvalidInput, match=r"'input\[8\]' has no tokens"):
        _check_lengths([3, 0], first=7)


def test_too_many_tokens_in_total_are_refused_with_their_sum() -> None:
    with pytest.raises(LimitExceeded) as caught:
        _check_lengths([6, 6, 1])

    assert caught.value.args == ("input", "tokens to compute", 13, 12)


@pytest.mark.parametrize("lengths", [[], [6, 6], [6] * 100])
def test_without_limits_any_sum_of_tokens_passes(lengths: list[int]) -> None:
    _check_lengths(lengths, limits=None)

    with pytest.raises(LimitExceeded, match=r"input\["):
        _check_lengths([*lengths, 7], limits=None)


def test_a_vector_is_not_taken_for_token_ids() -> None:
    vector = cast("Sequence[int]", [0.5, 2.0])

    with pytest.raises(InvalidInput, match=r"'input\[0\]\[0\]' is of type float; ids of"):
        check_inputs([vector], limits=None, vocabulary_size=10)
    check_inputs([cast("Sequence[int]", np.array([1, 2]))], limits=None, vocabulary_size=10)


@pytest.mark.parametrize("half", ["query", "text"])
def test_each_half_of_a_pair_is_checked_like_a_text(half: str) -> None:
    limits = LIMITS.model_copy(update={"max_characters": 5})

    def check(text: object, **options: bool) -> None:
        pair = Pair(**{"query": "a", "text": "b", half: text})  # type: ignore[arg-type]
        check_inputs([pair], limits=limits, vocabulary_size=VOCABULARY, pairs=True, **options)

    check("x" * 5)
    check("x" * 6, any_length=True)
    with pytest.raises(
        LimitExceeded, match=rf"input\[0\]\.{half}' has 6 characters; the limit is 5"
    ):
        check("x" * 6)
    with pytest.raises(InvalidInput, match=rf"input\[0\]\.{half}' must not be empty"):
        check("")
    with pytest.raises(InvalidInput, match=rf"input\[0\]\.{half}' is of type int"):
        check(7)


def test_pairs_are_refused_where_texts_are_expected() -> None:
    with pytest.raises(InvalidInput, match=r"'input\[0\]' is of type Pair"):
        _check([Pair("a", "b")])

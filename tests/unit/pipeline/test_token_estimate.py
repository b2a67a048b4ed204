"""The estimate of tokens before tokenization."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.pipeline.token_estimate import TokenEstimate


@given(st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=30), max_size=5))
def test_token_ids_count_exactly_up_to_the_models_limit(inputs: list[list[int]]) -> None:
    assert TokenEstimate(20).tokens_of(inputs) == sum(min(20, len(ids)) for ids in inputs)


def test_a_text_counts_at_least_one_token_and_at_most_the_models_limit() -> None:
    assert TokenEstimate(512).tokens_of(["x" * 100_000, "x"]) == 512 + 1


@pytest.mark.parametrize("per_character", [0.1, 0.25, 1.0])
def test_texts_are_estimated_by_the_ratio_of_earlier_texts(per_character: float) -> None:
    sizes = TokenEstimate(512)
    for _ in range(200):
        sizes.learn(["x" * 400], [int(400 * per_character)])

    assert sizes.tokens_of(["x" * 300] * 10) == pytest.approx(3000 * per_character, rel=0.1)


def test_the_ratio_follows_new_texts_after_many_others() -> None:
    sizes = TokenEstimate(512)
    for tokens in (50, 400):
        for _ in range(12_000):
            sizes.learn(["x" * 400], [tokens])

    assert sizes.tokens_of(["x" * 400]) == pytest.approx(400, rel=0.1)


def test_truncated_texts_and_token_ids_do_not_change_the_ratio() -> None:
    sizes = TokenEstimate(8)
    before = sizes.tokens_of(["x" * 20])
    for _ in range(100):
        sizes.learn(["x" * 10_000, [1, 2]], [8, 2])

    assert sizes.tokens_of(["x" * 20]) == before

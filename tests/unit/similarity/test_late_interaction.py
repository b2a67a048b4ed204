"""MaxSim beside the formula, token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.errors import InvalidVector
from embedder.core.outputs import RaggedRows
from embedder.core.types import Vectors
from embedder.similarity import late_interaction as module
from embedder.similarity.late_interaction import maxsim


def drawn(count: int, lengths: list[int], seed: int) -> tuple[Vectors, RaggedRows]:
    """Return the tokens of a query, and those of texts, in three components."""
    draw = np.random.default_rng(seed).standard_normal
    query, values = draw((count, 3), np.float32), draw((sum(lengths), 3), np.float32)
    return query, RaggedRows.of(values, np.array(lengths, np.int64))


def by_formula(query: Vectors, text: Vectors) -> float:
    if not len(text):
        return 0.0
    return sum(max(float(np.dot(one, other)) for other in text) for one in query)


@given(st.integers(0, 5), st.lists(st.integers(0, 6), max_size=8), st.integers(0, 99))
@settings(max_examples=30)
def test_scores_are_those_of_the_formula_in_any_tiles(
    count: int, lengths: list[int], seed: int
) -> None:
    query, texts = drawn(count, lengths, seed)
    expected = [by_formula(query, one.values) for one in texts.split()]

    for tile in (1, 12, module.TILE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "TILE", tile)
            np.testing.assert_allclose(maxsim(query, texts), expected, atol=1e-5)


def test_a_text_has_the_same_score_alone_and_among_others() -> None:
    query, texts = drawn(4, [3, 1, 5, 2], 1)
    together = maxsim(query, texts)
    alone = [float(maxsim(query, one)[0]) for one in texts.split()]

    assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 4), (3,)])
def test_tokens_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    _, texts = drawn(1, [2], 0)

    with pytest.raises(InvalidVector, match="3 components"):
        maxsim(np.zeros(shape, np.float32), texts)

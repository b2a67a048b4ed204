"""Rows are chosen as the formula says, one after the other; what repeats waits."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.mmr import maximal_marginal_relevance as choose
from embedder.similarity.topk import top_k

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
EXACT: tuple[SimilarityName, ...] = ("dot", "squared_euclidean", "manhattan")
"""The measures that are whole numbers where the components are."""

WHOLE = st.integers(-3, 3).map(float)
MEASURES: dict[SimilarityName, Any] = {
    "cosine": lambda x, y: x @ y / max(np.sqrt(x @ x) * np.sqrt(y @ y), 1e-300),
    "dot": lambda x, y: x @ y,
    "euclidean": lambda x, y: -np.sqrt(((x - y) ** 2).sum()),
    "squared_euclidean": lambda x, y: -((x - y) ** 2).sum(),
    "manhattan": lambda x, y: -np.abs(x - y).sum(),
}


def by_the_formula(
    query: Vectors, rows: Vectors, k: int, diversity: float, metric: SimilarityName
) -> list[int]:
    """Choose in double precision, one candidate at a time."""
    measure = MEASURES[metric]
    x, ys = query.astype(np.float64), rows.astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < min(k, len(ys)):
        best, most = -1, -np.inf
        for row in set(range(len(ys))) - set(chosen):
            gain = measure(x, ys[row])
            if chosen:
                likeness = max(measure(ys[row], ys[other]) for other in chosen)
                gain = (1 - diversity) * gain - diversity * likeness
            if gain > most or (gain == most and row < best):
                best, most = row, gain
        chosen.append(best)
    return chosen


@st.composite
def questions(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Draw a vector and rows of small whole numbers, among which many are alike."""
    width = draw(st.integers(1, 3))
    rows = draw(arrays(np.float32, (draw(st.integers(0, 9)), width), elements=WHOLE))
    return draw(arrays(np.float32, width, elements=WHOLE)), rows


@pytest.mark.parametrize("metric", EXACT)
@given(questions(), st.integers(1, 10), st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
def test_rows_and_equals_are_chosen_by_the_formula(
    metric: SimilarityName, question: tuple[Vectors, Vectors], k: int, diversity: float
) -> None:
    found = choose(*question, k, diversity=diversity, metric=metric)

    assert found.dtype == np.int64
    assert found.tolist() == by_the_formula(*question, k, diversity, metric)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("diversity", [0, 0.3, 0.5, 1])
def test_rows_of_real_widths_are_chosen_by_the_formula(
    metric: SimilarityName, diversity: float
) -> None:
    random = np.random.default_rng(3)
    query, rows = random.normal(size=48), random.normal(size=(60, 48))

    found = choose(query, rows, 12, diversity=diversity, metric=metric)  # type: ignore[arg-type]

    assert found.tolist() == by_the_formula(query, rows, 12, diversity, metric)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", NAMES)
def test_without_diversity_it_is_plain_search(metric: SimilarityName) -> None:
    rows = np.random.default_rng(4).normal(size=(50, 16)).astype(np.float32)
    nearest, _ = top_k(rows[:1], rows, metric, 20)

    assert choose(rows[0], rows, 20, diversity=0, metric=metric).tolist() == nearest[0].tolist()


def test_what_nearly_repeats_an_answer_comes_after_what_is_new() -> None:
    query = np.array([1, 0.2], np.float32)
    rows = np.array([[1, 0], [1, 0.01], [0.9, 0.5], [0, -1]], np.float32)

    assert choose(query, rows, 4, diversity=0).tolist() == [1, 0, 2, 3]
    assert choose(query, rows, 2, diversity=0.7).tolist() == [1, 3]
    assert choose(query, rows, 2).tolist() == [1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_more_than_there_are_is_all_of_them(count: int) -> None:
    rows = np.eye(3, dtype=np.float32)[:count]

    assert sorted(choose(rows[0], rows, 9).tolist()) == list(range(count))
    assert choose(rows[0], rows[:0], 9).shape == (0,)


def test_rows_without_a_direction_have_their_turn_too() -> None:
    zeros = np.zeros((3, 2), np.float32)

    assert choose(zeros[0], zeros, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"k": 0}, "k", "is 0; it must be at least 1"),
        ({"k": -1}, "k", "is -1"),
        ({"diversity": -0.1}, "diversity", "between 0 and 1"),
        ({"diversity": 1.1}, "diversity", "between 0 and 1"),
        ({"diversity": float("nan")}, "diversity", "between 0 and 1"),
        ({"metric": "l2"}, "metric", "there are: cosine"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, Any], field: str, words: str) -> None:
    rows = np.ones((2, 2), np.float32)

    with pytest.raises(InvalidInput, match=words) as caught:
        choose(rows[0], rows, **{"k": 1, **arguments})

    assert caught.value.field == field


def test_vectors_that_cannot_be_measured_are_refused_by_name() -> None:
    rows = np.ones((3, 2), np.float32)
    broken, large = rows.copy(), rows.copy()
    broken[2, 1], large[1:] = np.nan, 3e38

    with pytest.raises(InvalidVector, match=r"'candidates\[2\]' has a component"):
        choose(rows[0], broken, 1)
    with pytest.raises(InvalidVector, match="'query' has a component that is not finite"):
        choose(broken[2], rows, 1)
    with pytest.raises(InvalidVector, match="'query' has 2 dimensions; it must have 1"):
        choose(rows, rows, 1)
    with pytest.raises(InvalidVector, match="'candidates' has 2 components; query has 3"):
        choose(np.ones(3, np.float32), rows, 1)
    with pytest.raises(InvalidVector, match=r"'candidates\[1\]' is too large"):
        choose(rows[0], large, 1, metric="dot")
    with pytest.raises(InvalidVector, match=r"'candidates\[1\]' is too large"):
        choose(0 * rows[0], large, 3, metric="dot")

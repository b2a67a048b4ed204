"""Rows are selected one after the other by the formula; redundant rows come later."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.mmr import maximal_marginal_relevance as select
from embedder.similarity.topk import top_k
from tests.unit.similarity.matrices import INTEGERS

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
EXACT: tuple[SimilarityName, ...] = ("dot", "squared_euclidean", "manhattan")
"""Metrics that are integers for integer components."""

FORMULAS: dict[SimilarityName, Any] = {
    "cosine": lambda x, y: x @ y / max(np.sqrt(x @ x) * np.sqrt(y @ y), 1e-300),
    "dot": lambda x, y: x @ y,
    "euclidean": lambda x, y: -np.sqrt(((x - y) ** 2).sum()),
    "squared_euclidean": lambda x, y: -((x - y) ** 2).sum(),
    "manhattan": lambda x, y: -np.abs(x - y).sum(),
}


def by_the_formula(
    query: Vectors, rows: Vectors, k: int, diversity: float, metric: SimilarityName
) -> list[int]:
    """Select in double precision, one candidate at a time."""
    measure = FORMULAS[metric]
    x, ys = query.astype(np.float64), rows.astype(np.float64)
    selected: list[int] = []
    while len(selected) < min(k, len(ys)):
        best, most = -1, -np.inf
        for row in set(range(len(ys))) - set(selected):
            gain = measure(x, ys[row])
            if selected:
                redundancy = max(measure(ys[row], ys[other]) for other in selected)
                gain = (1 - diversity) * gain - diversity * redundancy
            if gain > most or (gain == most and row < best):
                best, most = row, gain
        selected.append(best)
    return selected


@st.composite
def questions(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Draw a vector and rows of small integers, of which many are equal."""
    width = draw(st.integers(1, 3))
    rows = draw(arrays(np.float32, (draw(st.integers(0, 9)), width), elements=INTEGERS))
    return draw(arrays(np.float32, width, elements=INTEGERS)), rows


@pytest.mark.parametrize("metric", EXACT)
@given(questions(), st.integers(1, 10), st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
def test_rows_and_ties_are_selected_by_the_formula(
    metric: SimilarityName, question: tuple[Vectors, Vectors], k: int, diversity: float
) -> None:
    found = select(*question, k, diversity=diversity, metric=metric)

    assert found.dtype == np.int64
    assert found.tolist() == by_the_formula(*question, k, diversity, metric)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("diversity", [0, 0.3, 0.5, 1])
def test_rows_of_realistic_widths_are_selected_by_the_formula(
    metric: SimilarityName, diversity: float
) -> None:
    random = np.random.default_rng(3)
    query, rows = random.normal(size=48), random.normal(size=(60, 48))

    found = select(query, rows, 12, diversity=diversity, metric=metric)  # type: ignore[arg-type]

    assert found.tolist() == by_the_formula(query, rows, 12, diversity, metric)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", NAMES)
def test_a_diversity_of_zero_is_plain_search(metric: SimilarityName) -> None:
    rows = np.random.default_rng(4).normal(size=(50, 16)).astype(np.float32)
    nearest, _ = top_k(rows[:1], rows, metric, 20)

    assert select(rows[0], rows, 20, diversity=0, metric=metric).tolist() == nearest[0].tolist()


def test_redundant_rows_come_after_new_ones() -> None:
    query = np.array([1, 0.2], np.float32)
    rows = np.array([[1, 0], [1, 0.01], [0.9, 0.5], [0, -1]], np.float32)

    assert select(query, rows, 4, diversity=0).tolist() == [1, 0, 2, 3]
    assert select(query, rows, 2, diversity=0.7).tolist() == [1, 3]
    assert select(query, rows, 2).tolist() == [1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_a_k_above_the_number_of_rows_selects_all(count: int) -> None:
    rows = np.eye(3, dtype=np.float32)[:count]

    assert sorted(select(rows[0], rows, 9).tolist()) == list(range(count))
    assert select(rows[0], rows[:0], 9).shape == (0,)


def test_rows_of_zeros_are_selected_too() -> None:
    zeros = np.zeros((3, 2), np.float32)

    assert select(zeros[0], zeros, 3).tolist() == [0, 1, 2]


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
def test_invalid_arguments_are_refused(arguments: dict[str, Any], field: str, words: str) -> None:
    rows = np.ones((2, 2), np.float32)

    with pytest.raises(InvalidInput, match=words) as caught:
        select(rows[0], rows, **{"k": 1, **arguments})

    assert caught.value.field == field


def test_invalid_vectors_are_refused_by_name() -> None:
    rows = np.ones((3, 2), np.float32)
    broken, large = rows.copy(), rows.copy()
    broken[2, 1], large[1:] = np.nan, 3e38

    with pytest.raises(InvalidVector, match=r"'candidates\[2\]' has a component"):
        select(rows[0], broken, 1)
    with pytest.raises(InvalidVector, match="'query' has a component that is not finite"):
        select(broken[2], rows, 1)
    with pytest.raises(InvalidVector, match="'query' has 2 dimensions; it must have 1"):
        select(rows, rows, 1)
    with pytest.raises(InvalidVector, match="'candidates' has 2 components; query has 3"):
        select(np.ones(3, np.float32), rows, 1)
    with pytest.raises(InvalidVector, match=r"'candidates\[1\]' is too large"):
        select(rows[0], large, 1, metric="dot")
    with pytest.raises(InvalidVector, match=r"'candidates\[1\]' is too large"):
        select(0 * rows[0], large, 3, metric="dot")

"""Each kind of result is compared with float32 in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.backends.precision import MAX_DEVIATION, Agreement, max_deviation
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows

EXACT = np.array([[-11.0], [-9.0], [-10.0]], np.float32)


def sparse(*rows: dict[int, float]) -> RaggedRows:
    weights = [weight for row in rows for weight in row.values()]
    ids = [token for row in rows for token in row]
    return RaggedRows.of(
        np.array(weights, np.float32).reshape(-1, 1),
        np.array([len(row) for row in rows]),
        np.array(ids, np.int32),
    )


@pytest.mark.parametrize(("part", "close"), [(0.9, True), (1.1, False)])
def test_scores_may_differ_by_a_part_of_their_range(part: float, close: bool) -> None:
    found = EXACT + np.float32(part * MAX_DEVIATION * 2) * np.array([[0], [-1], [0]], np.float32)

    agreement = Agreement.of({OutputKind.SCORES: EXACT}, {OutputKind.SCORES: found})

    assert agreement.close is close
    assert agreement.value == pytest.approx(part * MAX_DEVIATION, rel=1e-3)
    assert agreement.text.startswith("its scores differ from float32 by up to")


def test_each_label_has_its_own_range() -> None:
    exact = np.array([[0, 0], [1, 100]], np.float32)
    found = np.array([[0.5, 1], [1, 100]], np.float32)

    assert max_deviation(exact, found) == pytest.approx(0.5)
    assert max_deviation(exact, exact) == 0
    assert np.isnan(max_deviation(exact, found * np.nan))


def test_an_id_that_is_missing_has_the_weight_zero() -> None:
    exact, found = sparse({1: 3.0, 5: 4.0}, {}), sparse({1: 3.0, 9: 4.0}, {})

    agreement = Agreement.of({OutputKind.SPARSE: exact}, {OutputKind.SPARSE: found})

    assert agreement.value == pytest.approx(9 / 25)
    assert not agreement.close
    assert Agreement.of({OutputKind.SPARSE: exact}, {OutputKind.SPARSE: exact}).close
    assert not Agreement.of(
        {OutputKind.SPARSE: exact}, {OutputKind.SPARSE: sparse({1: 1}, {1: 1})}
    ).close


def test_the_kind_that_is_not_close_decides() -> None:
    dense = np.eye(2, dtype=np.float32)
    good = RaggedRows.of(np.ones((3, 2), np.float32), np.array([1, 2]))
    bad = RaggedRows.of(np.array([[1, 1], [1, 1], [np.nan, 1]], np.float32), np.array([1, 2]))
    exact: dict[OutputKind, Rows] = {OutputKind.DENSE: dense, OutputKind.TOKENS: good}
    found: dict[OutputKind, Rows] = {OutputKind.DENSE: dense, OutputKind.TOKENS: bad}

    agreement = Agreement.of(exact, found)

    assert not agreement.close
    assert agreement.text == "the cosine of its token vectors to float32 is nan"
    assert Agreement.of(exact, exact).text == "the cosine to float32 is 1.00000"

"""The fit is that of least squares on relative errors, and no factor is negative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling.fitting import fit

optimize = pytest.importorskip("scipy.optimize")

POSITIVE = st.floats(0.01, 100.0)


@given(st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE), min_size=3, max_size=8))
def test_no_other_factors_come_nearer(rows: list[tuple[float, float, float]]) -> None:
    first, second, values = np.array(rows).T
    weighted = np.stack([first, second], axis=1) / values[:, None]
    _, least = optimize.nnls(weighted, np.ones(len(values)))

    factors = np.array(fit([first, second], values))

    assert (factors >= 0).all()
    assert np.linalg.norm(weighted @ factors - 1) <= least + 1e-6


def test_a_large_value_weighs_no_more_than_a_small_one() -> None:
    ones = np.ones(2)

    (factor,) = fit([ones], np.array([1.0, 1000.0]))

    assert factor == pytest.approx((1 + 1 / 1000) / (1 + 1 / 1000**2))


def test_a_column_that_would_need_a_negative_factor_is_left_out() -> None:
    x = np.array([1.0, 2.0, 4.0])

    constant, slope = fit([np.ones(3), x], x - 0.5)

    assert constant == 0.0
    assert slope > 0.0


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, -2.0]])
def test_what_cannot_be_fitted_is_refused(values: list[float]) -> None:
    columns = [np.ones(len(values)), np.arange(len(values), dtype=np.float64)]
    with pytest.raises(ValueError, match=r"parameters|positive"):
        fit(columns, np.array(values))

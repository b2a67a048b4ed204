"""The schedule of an open loop is a Poisson process."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from benchmarks.arrivals import arrivals


def test_arrivals_are_a_poisson_process_and_equal_for_equal_seeds() -> None:
    due = arrivals(500.0, 20.0, seed=1)
    gaps = [after - before for before, after in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)

    assert due == sorted(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert math.sqrt(variance) == pytest.approx(mean, rel=0.1), "as exponential gaps have"
    assert due == arrivals(500.0, 20.0, seed=1)

"""Goals are numbers above 0, and each missed goal is reported in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from embedder.core.errors import InvalidInput
from embedder.planning.goal import GB, Goal, UnmetGoal, show, unmet_goals
from embedder.planning.prediction import Prediction

PREDICTION = Prediction(memory_bytes=2 * GB, latency_ms=9.8, alone_ms=4.0, texts_per_s=310.0)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"max_memory_gb": 0}, "max_memory_gb"),
        ({"target_latency_ms": -1}, "target_latency_ms"),
        ({"min_texts_per_s": float("nan")}, "min_texts_per_s"),
        ({"tokens_per_text": 0}, "tokens_per_text"),
    ],
)
def test_a_number_not_above_0_is_refused_by_its_name(wanted: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match="must be above 0") as caught:
        Goal(**wanted)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("wanted", "free_bytes", "expected"),
    [
        ({}, 3 * GB, []),
        (
            {"target_latency_ms": 5.0},
            3 * GB,
            ["latency of one text: 9.8 ms predicted, 5 ms wanted: short by 4.8 ms"],
        ),
        (
            {"min_texts_per_s": 1500},
            3 * GB,
            ["texts per second: 310 predicted, 1,500 wanted: short by 1,190"],
        ),
        (
            {"max_memory_gb": 1.5},
            GB,
            [
                "memory: 2 GB predicted, 1.5 GB wanted: short by 0.5 GB",
                "free memory: 2 GB predicted, 1 GB wanted: short by 1 GB",
            ],
        ),
        ({"max_memory_gb": 2, "target_latency_ms": 9.8, "min_texts_per_s": 310}, 2 * GB, []),
    ],
)
def test_missed_goals_are_reported_with_numbers(
    wanted: dict[str, Any], free_bytes: int, expected: list[str]
) -> None:
    sentences = [str(one) for one in unmet_goals(Goal(**wanted), PREDICTION, free_bytes)]

    assert sentences == expected


def test_a_gap_is_never_negative() -> None:
    assert UnmetGoal("x", 3, 5, "").gap == UnmetGoal("x", 5, 3, "").gap == 2


@pytest.mark.parametrize(
    ("number", "expected"),
    [(12345.6, "12,346"), (99.96, "100"), (9.84, "9.84"), (0.1234, "0.123"), (0, "0")],
)
def test_numbers_have_three_significant_digits(number: float, expected: str) -> None:
    assert show(number) == expected

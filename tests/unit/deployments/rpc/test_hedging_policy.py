"""Which calls are late, and how many copies may be sent, against an oracle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.rpc.hedging import (
    BURST_S,
    CEILING_S,
    EVERY,
    FACTOR,
    FLOOR_S,
    OUTLIERS,
    SHARE,
    WINDOW,
    Hedging,
)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 100)), max_size=250))
def test_the_policy_agrees_with_its_definition(events: list[tuple[bool, float, float]]) -> None:
    """The oracle keeps every answer, and computes the wait from them anew."""
    policy, now, taken_s = Hedging(0.0), 0.0, 0.0
    answers: list[float] = []
    for is_answer, amount_s, pause_s in events:
        now += pause_s
        if is_answer:
            policy.answered(amount_s, now)
            answers.append(amount_s)
        known = answers[: len(answers) // EVERY * EVERY][-WINDOW:]
        usual_s = sorted(known, reverse=True)[OUTLIERS] if known else 0.0
        if not is_answer and policy.take(amount_s):
            taken_s += max(amount_s, usual_s)
        assert policy.late_s == max(FLOOR_S, min(FACTOR * usual_s, CEILING_S))
        assert taken_s <= BURST_S + SHARE * (sum(answers) + now) + 1e-6

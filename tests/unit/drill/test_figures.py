"""The figures of a row of the drill."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.drill.figures import figures, line, rate_back
from tests.drill.retrying import Request

TIMES = (0.0, 5.0, 15.0)
STEADY = [at / 4 for at in range(60)]
"""Four answers a second."""


@pytest.mark.parametrize(
    ("silent", "back"),
    [((5.0, 5.4), 0.0), ((5.0, 8.0), 3.0), ((7.5, 9.0), 4.0), ((9.0, 15.0), None)],
)
def test_the_rate_is_back_after_the_last_second_with_too_few_answers(
    silent: tuple[float, float], back: float | None
) -> None:
    answered = [at for at in STEADY if not silent[0] <= at < silent[1]]

    assert rate_back(answered, *TIMES) == back


def _request(began_s: float, seconds: float, status: int = 200, *, index: bool = False) -> Request:
    return Request(index, began_s, began_s + seconds, status, reason="why" if status != 200 else "")


def test_first_success_is_that_of_a_request_after_the_fault() -> None:
    requests = [_request(4.9, 0.2), _request(5.5, 3.0), _request(6.0, 1.5), _request(5.1, 0.1, 500)]
    row = figures("kill Encoder", requests, TIMES, wrong=2)

    assert row.first_s == 2.5
    assert (row.requests, row.failures, row.index_failures, row.wrong) == (4, 1, 0, 2)
    assert row.reasons == ("500 why",)


def test_a_row_of_the_index_watches_requests_to_the_index() -> None:
    refused = _request(6.0, 3.0, index=True)
    refused.unavailable = [6.5, 8.5]
    refused.without_retry_after = 1
    refused.retries = Counter({"503": 2})
    row = figures("kill VectorIndex-0", [_request(6.0, 0.1), refused], TIMES, wrong=0)

    assert (row.first_s, row.unavailable_s, row.without_retry_after) == (4.0, 3.5, 1)
    assert line(row) == "| kill VectorIndex-0 | 2 | 2 × 503 | 0, 0 | 0 | 4.0 | 0.0 | 3.5 |"


def test_a_row_without_a_success_says_so() -> None:
    row = figures("kill Ingress", [_request(6.0, 60.0, 0)], TIMES, wrong=0)

    assert line(row) == "| kill Ingress | 1 | 0 | 1, 0 | 0 | not yet | 0.0 | – |"

"""The figures of one row of the drill, from its requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.drill.retrying import Request

BIN_S = 1.0
BACK_SHARE = 0.5
"""The rate is back when no later second has less than this share of the rate before the fault."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One row. Seconds count from the fault; None: it did not come back.

    ``first_s`` is when the first request succeeded that began after the fault, ``rate_s`` when the
    rate of answers was back, and ``unavailable_s`` when the index last answered 503. The first two
    are of requests to the index in a row of the index, else of embed requests.
    """

    row: str
    requests: int
    retries: Counter[str]
    failures: int
    index_failures: int
    wrong: int
    first_s: float | None
    rate_s: float | None
    unavailable_s: float
    without_retry_after: int
    reasons: tuple[str, ...] = ()


def figures(
    row: str, requests: Sequence[Request], times: tuple[float, float, float], wrong: int
) -> Figures:
    """Return the figures of a row; ``times`` are of the load's begin, the fault, the load's end."""
    began_s, fault_s, end_s = times
    watched = [one for one in requests if one.is_of_index == ("VectorIndex" in row)]
    answered = [one for one in watched if one.succeeded]
    first = min((one.ended_s for one in answered if one.began_s >= fault_s), default=None)
    failed = [one for one in requests if not one.succeeded]
    of_index = [one for one in requests if one.is_of_index]
    return Figures(
        row,
        len(requests),
        sum((one.retries for one in requests), Counter()),
        sum(not one.is_of_index for one in failed),
        sum(one.is_of_index for one in failed),
        wrong,
        None if first is None else first - fault_s,
        rate_back([one.ended_s for one in answered], began_s, fault_s, end_s),
        max((at - fault_s for one in of_index for at in one.unavailable), default=0.0),
        sum(one.without_retry_after for one in of_index),
        tuple(sorted({f"{one.status} {one.reason}".strip() for one in failed})),
    )


def rate_back(
    answered: Sequence[float], began_s: float, fault_s: float, end_s: float
) -> float | None:
    """Return the end of the last second after the fault with too few answers, from the fault on.

    ``answered`` are the times of answers. 0.0: no second had too few; None: the last one had.
    """
    before = sum(began_s <= at < fault_s for at in answered) / (fault_s - began_s)
    bins = int((end_s - fault_s) / BIN_S)
    counts = Counter(int((at - fault_s) / BIN_S) for at in answered if at >= fault_s)
    low = [at for at in range(bins) if counts[at] < before * BIN_S * BACK_SHARE]
    if not low:
        return 0.0
    return None if low[-1] == bins - 1 else (low[-1] + 1) * BIN_S


HEAD = (
    "| row | requests | retries | failed (embed, index) | wrong vectors | first success, s "
    "| rate back, s | 503 of the index until, s |\n|---|--:|---|--:|--:|--:|--:|--:|"
)


def line(row: Figures) -> str:
    """Return the row of the table in Markdown."""
    retries = ", ".join(f"{count} × {what}" for what, count in sorted(row.retries.items()))
    cells = [
        row.row,
        f"{row.requests:,}",
        retries or "0",
        f"{row.failures}, {row.index_failures}",
        str(row.wrong),
        *("not yet" if value is None else f"{value:.1f}" for value in (row.first_s, row.rate_s)),
        f"{row.unavailable_s:.1f}" if row.unavailable_s else "–",
    ]
    return f"| {' | '.join(cells)} |"

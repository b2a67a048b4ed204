"""When a failed request is sent again: pure functions."""

from __future__ import annotations

from collections.abc import Mapping

FIRST_S = 0.1
"""Seconds before the first repetition, where the service names none."""

LONGEST_S = 10.0
"""The most seconds before a repetition, where the service names none."""

REPEATED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that are repeated if the answer does not say whether they should be."""


def is_repeated(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a request with this answer is sent again.

    ``x-should-retry`` decides where the answer has it.
    """
    wanted = headers.get("x-should-retry")
    return status in REPEATED if wanted is None else wanted == "true"


def delay_s(attempt: int, headers: Mapping[str, str], chance: float) -> float:
    """Return the seconds to wait after a failed attempt; the first attempt is number 0.

    The service's ``retry-after-ms`` or ``retry-after`` is the least delay. A service that names
    none gets `FIRST_S`, twice as long each time, up to `LONGEST_S`. ``chance``, from 0 to 1, adds
    up to a quarter, so that clients that failed together do not return together.
    """
    named = _named_s(headers)
    delay = min(FIRST_S * 2 ** min(attempt, 16), LONGEST_S) if named is None else named
    return delay * (1 + chance / 4)


def _named_s(headers: Mapping[str, str]) -> float | None:
    """Return the delay that the headers name in seconds; a date or another text is ignored."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value) * unit
    return None

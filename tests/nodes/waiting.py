"""Waiting for a service whose processes are not this one's."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

READY_S = 240.0
POLL_S = 0.5


def wait_for(what: str, holds: Callable[[], bool], within_s: float = READY_S) -> float:
    """Wait until something holds, and return how many seconds it took.

    Raises:
        AssertionError: it takes more than ``within_s``.
    """
    began = time.monotonic()
    while not holds():
        waited = time.monotonic() - began
        assert waited < within_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return time.monotonic() - began


def is_ready(url: str) -> bool:
    """Return whether a service answers that it is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False

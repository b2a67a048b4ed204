"""One thread for the oracles: on cores that other tests use, threads would wait for each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let OpenMP and the linear algebra of a test use one thread."""
    with threadpool_limits(1):
        yield

"""Fixtures: several indexes of one shard over one database, as the replicas of a service are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.postgres.postgres_server import running_server


@pytest.fixture
def url() -> str:
    """Return the URL of an empty database."""
    return running_server().create_database()


@pytest.fixture
def replica(url: str) -> Iterator[Callable[[], VectorIndex]]:
    """Yield a function that opens one more replica, which is closed after the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            closing(VectorIndex(small_settings(url=url), background=False))
        )

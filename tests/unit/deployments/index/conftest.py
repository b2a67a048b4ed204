"""Indexes of one shard and of several."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.deployments.index.shards import Index


@pytest.fixture
async def several() -> AsyncIterator[Index]:
    """Yield an index of three shards."""
    index = Index(3)
    yield index
    await index.close()


@pytest.fixture
async def single() -> AsyncIterator[Index]:
    """Yield an index of one shard, which the others are compared with."""
    index = Index(1)
    yield index
    await index.close()

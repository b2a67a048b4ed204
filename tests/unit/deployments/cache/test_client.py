"""A shard of the cache behind a handle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from deployments.cache.client import RemoteCache
from embedder.core.errors import BackendFailure
from tests.unit.deployments.local_handle import as_handle


async def test_a_failed_lookup_raises_the_error_of_the_shard() -> None:
    class Broken:
        async def get_many(self, keys: Sequence[bytes], width: int) -> None:
            raise ValueError("broken")

    with pytest.raises(BackendFailure, match="failed"):
        await RemoteCache("EmbeddingCache-0", as_handle(Broken())).get_many([b"key"], 4)

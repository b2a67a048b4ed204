"""The chunks of a document lie in several shards, and are replaced and deleted in all."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, StageUnavailable
from embedder.index.contract.documents import chunk_id
from embedder.index.contract.points import Points
from tests.unit.deployments.index.shards import L2, NAME, WIDTH, Index
from tests.unit.deployments.rpc.replica_errors import from_replica


async def _put(index: Index, document: str, count: int) -> int:
    ids = [chunk_id(document, number) for number in range(count)]
    metadata = [{"chunk": {"document": document, "number": number}} for number in range(count)]
    points = Points(ids, np.ones((count, WIDTH), np.float32), ids, metadata, [document])
    return await index.remote.upsert(NAME, points, NEVER)


async def _ids(index: Index) -> list[str]:
    page = await index.remote.scroll(NAME, None, 1000, None, (), deadline=NEVER)
    return sorted(record.id for record in page.records)


async def test_no_shard_keeps_an_earlier_chunk(several: Index) -> None:
    await several.remote.create(NAME, L2, NEVER)
    await _put(several, "doc", 40)
    await _put(several, "other", 2)
    sequence = await _put(several, "doc", 1)

    assert await _ids(several) == ["doc#0", "other#0", "other#1"]
    assert sequence == (await several.remote.describe(NAME, NEVER)).sequence


async def test_documents_are_deleted_in_all_shards(several: Index) -> None:
    await several.remote.create(NAME, L2, NEVER)
    await _put(several, "doc", 40)
    deleted = await several.remote.delete_documents(NAME, ["doc", "gone"], NEVER)

    assert deleted.count == 40
    assert await _ids(several) == []
    with pytest.raises(InvalidInput, match=r"'documents\[0\]' must not be empty"):
        await several.remote.delete_documents(NAME, [""], NEVER)


async def test_a_write_that_a_lost_shard_missed_is_completed_by_repeating_it(
    several: Index,
) -> None:
    await several.remote.create(NAME, L2, NEVER)
    await _put(several, "doc", 40)
    several.handles[1].fault = from_replica(StageUnavailable("VectorIndex-1", "is gone"))
    with pytest.raises(StageUnavailable):
        await _put(several, "doc", 1)
    several.handles[1].fault = None
    await _put(several, "doc", 1)

    assert await _ids(several) == ["doc#0"]

"""Long merges of the shards' answers run in a thread, until the deadline."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployments.index.gathering import merge_hits
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.index import sharding
from embedder.index.contract.points import Hit, Metric, Query

PLAIN = Query(collection="c", vector=np.ones(2, np.float32), top_k=2)
DIVERSE = replace(PLAIN, diversity=0.5)
SHARD = PickledRows.of(Hit, [Hit("a", 0.9, None, vector=np.array([1, 1], np.float32))])
OTHER = PickledRows.of(Hit, [Hit("b", 0.8, None, vector=np.array([1, 0], np.float32))])


async def test_hits_with_diversity_are_merged_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here: list[bool] = []
    merge = sharding.merge_hits

    def merging(*arguments: Any) -> list[Hit]:
        here.append(threading.current_thread() is threading.main_thread())
        return merge(*arguments)

    monkeypatch.setattr(sharding, "merge_hits", merging)
    queries, answers = [DIVERSE, PLAIN], [[SHARD, SHARD], [OTHER, OTHER]]
    found = await merge_hits(queries, answers, Metric.COSINE, NEVER)

    assert here == [False, True]
    assert [[hit.id for hit in hits] for hits in found] == [["a", "b"]] * 2


async def test_a_merge_with_diversity_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharding, "merge_hits", pytest.fail)

    with pytest.raises(DeadlineExceeded):
        await merge_hits([DIVERSE], [[SHARD]], Metric.COSINE, Deadline.after(0))

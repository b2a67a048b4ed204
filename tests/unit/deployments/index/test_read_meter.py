"""What a replica of the index reports for scaling."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from deployments.index.read_meter import ReadMeter
from embedder.core.errors import StageUnavailable
from embedder.index.contract.points import Query
from tests.unit.deployments.index.shards import NAME, Index, make_points


def test_it_reports_the_answered_reads_of_the_busy_share_of_its_threads() -> None:
    now_s = 0.0
    meter = ReadMeter(4, lambda: now_s)
    with meter.queued(3):
        meter.answered(30, seconds=2.0)
        now_s = 2.0
        assert meter.report() == {"queued": 3.0, "done": 15.0, "busy": 0.25}
    assert meter.report() == {"queued": 0.0, "done": 0.0, "busy": 0.0}


async def _report(index: Index) -> dict[str, float]:
    return await index.shards[0].record_autoscaling_stats()


async def test_searches_and_reads_count_and_writes_do_not(single: Index) -> None:
    call = single.shards[0].call
    await call("upsert", NAME, make_points(9))
    assert (await _report(single))["done"] == 0
    query = Query(NAME, np.ones(4, np.float32), 1)
    await asyncio.gather(call("search", [query] * 5), call("fetch", NAME, ["point 1"], ()))
    report = await _report(single)

    assert report["done"] > 0
    assert report["busy"] > 0
    assert report["queued"] == 0


async def test_reads_that_fail_say_nothing_about_the_speed_of_a_replica(
    single: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = single.shards[0]
    await shard.call("upsert", NAME, make_points(9))

    def fails(*_: Any) -> None:
        raise StageUnavailable("database of the index", "is down")

    monkeypatch.setattr(shard._index, "fetch", fails)
    with pytest.raises(StageUnavailable):
        await shard.call("fetch", NAME, ["point 1"], ())

    assert await _report(single) == {"queued": 0.0, "done": 0.0, "busy": 0.0}

"""Threads without a budget: waiting and running work is counted."""

from __future__ import annotations

import asyncio
import threading

import pytest

from embedder.pipeline.threads import CountedThreads, QueueStats, summed
from tests.unit.waiting import LONG_S


async def test_work_counts_while_it_waits_and_runs_and_not_after_cancellation() -> None:
    threads, gate, begun = CountedThreads("some", 1), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return gate.wait(LONG_S)

    tasks = [asyncio.ensure_future(threads.run(work)) for _ in range(3)]
    assert await asyncio.to_thread(begun.wait, LONG_S)
    stats = threads.stats
    assert stats == QueueStats("some", waiting=2, running=1, refused=0, oldest_s=stats.oldest_s)
    assert 0 < stats.oldest_s < LONG_S
    for task in tasks[:2]:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await asyncio.sleep(0)
    assert (threads.stats.waiting, threads.stats.running) == (1, 1)
    gate.set()

    assert await tasks[2]
    await asyncio.to_thread(lambda: None)
    threads.close()
    assert threads.stats == QueueStats("some", 0, 0, 0)


def test_several_queues_are_summed() -> None:
    assert summed("all", []) == QueueStats("all", 0, 0, 0)
    queues = [QueueStats("a", 1, 2, 3, 0.5), QueueStats("b", 4, 5, 6, 0.25)]
    assert summed("all", queues) == QueueStats("all", 5, 7, 9, 0.5)

"""Failing runs: the caller of the failing item gets the error, all others get their results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.errors import BackendFailure, OutOfMemory, Unavailable

ROOMY = Budget(max_tokens=100_000)


class Halt(BaseException):
    """Not an `Exception`: passes handlers of `Exception`."""


class FaultyDevice:
    """Multiplies by ten; fails batches with a poisoned item or more than ``capacity`` items."""

    def __init__(
        self, poison: dict[int, BaseException] | None = None, *, capacity: int = 10_000
    ) -> None:
        self.poison = poison or {}
        self.capacity = capacity
        self.batches: list[list[int]] = []

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        self.batches.append(items)
        await asyncio.sleep(0)
        if len(items) > self.capacity:
            raise OutOfMemory("full")
        for item in items:
            if item in self.poison:
                raise self.poison[item]
        return [item * 10 for item in items]


async def submit_all(
    batcher: Batcher[int, int], calls: Sequence[Sequence[int]]
) -> list[list[int] | BaseException]:
    """Submit all calls in one loop iteration and return each result or error."""
    work = [batcher.submit(call, [1] * len(call)) for call in calls]
    return await asyncio.gather(*work, return_exceptions=True)


async def test_only_the_caller_of_the_failing_item_gets_the_error() -> None:
    failing = ValueError("cannot embed 5")
    batcher = Batcher(FaultyDevice({5: failing}).run, budget=ROOMY)

    assert await submit_all(batcher, [[1, 2], [3], [4, 5, 6], [7], [8]]) == [
        [10, 20],
        [30],
        failing,
        [70],
        [80],
    ]


async def test_every_failing_item_is_found() -> None:
    errors: dict[int, BaseException] = {item: ValueError(str(item)) for item in (0, 3, 4, 9)}
    batcher = Batcher(FaultyDevice(errors).run, budget=ROOMY)

    expected = [errors.get(item, [item * 10]) for item in range(10)]
    assert await submit_all(batcher, [[item] for item in range(10)]) == expected


async def test_bisection_needs_a_logarithmic_number_of_runs() -> None:
    device = FaultyDevice({77: ValueError("77")})
    batcher = Batcher(device.run, budget=ROOMY)
    await submit_all(batcher, [[item] for item in range(128)])

    assert len(device.batches) == 1 + 2 * 7
    assert batcher.stats.bisections == 7


async def test_items_of_a_failed_submission_are_not_bisected_further() -> None:
    device = FaultyDevice({0: ValueError("0")})
    batcher = Batcher(device.run, budget=ROOMY)
    await submit_all(batcher, [range(8)])

    assert device.batches == [list(range(8)), [0, 1, 2, 3], [0, 1], [0]]


async def test_a_batch_on_an_unavailable_device_is_not_bisected() -> None:
    device = FaultyDevice({2: Unavailable("restarting")})
    batcher = Batcher(device.run, budget=ROOMY)
    results = await submit_all(batcher, [[1], [2], [3]])

    assert [type(result) for result in results] == [Unavailable] * 3
    assert device.batches == [[1, 2, 3]]
    assert batcher.stats.bisections == 0


async def test_a_failed_batch_frees_its_slot() -> None:
    device = FaultyDevice({1: ValueError("1")})
    batcher = Batcher(device.run, budget=ROOMY)
    await submit_all(batcher, [[1]])

    assert await submit_all(batcher, [[2]]) == [[20]]


@pytest.mark.parametrize("surplus", [-1, 1])
async def test_a_wrong_number_of_results_is_a_backend_failure(surplus: int) -> None:
    async def run(items: list[int], context: BatchContext) -> Sequence[int]:
        return [0] * (len(items) + surplus)

    results = await submit_all(Batcher(run, budget=ROOMY), [[1], [2]])

    assert [type(result) for result in results] == [BackendFailure] * 2


async def test_out_of_memory_halves_the_budget_and_all_callers_get_results() -> None:
    device = FaultyDevice(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16))
    results = await submit_all(batcher, [[item, item + 1] for item in range(0, 40, 2)])

    assert results == [[item * 10, item * 10 + 10] for item in range(0, 40, 2)]
    assert batcher.budget.max_tokens == 8
    assert [len(batch) for batch in device.batches] == [16, 8, 8, 8, 8, 8]


async def test_the_budget_never_falls_below_one_token() -> None:
    batcher = Batcher(FaultyDevice(capacity=0).run, budget=Budget(max_tokens=2))
    results = [await submit_all(batcher, [[1, 2]]) for _ in range(3)]

    assert [type(result) for (result,) in results] == [OutOfMemory] * 3
    assert batcher.budget.max_tokens == 1


async def test_a_single_item_that_does_not_fit_leaves_the_budget_unchanged() -> None:
    """A batch of one cannot be made smaller, so it says nothing about the budget."""
    batcher = Batcher(FaultyDevice({0: OutOfMemory("alone")}).run, budget=Budget(max_tokens=64))
    results = [await submit_all(batcher, [[0]]) for _ in range(7)]

    assert [type(result) for (result,) in results] == [OutOfMemory] * 7
    assert batcher.budget.max_tokens == 64


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Halt("now")])
async def test_a_run_that_raises_a_base_exception_leaves_no_caller_waiting(
    error: BaseException,
) -> None:
    device = FaultyDevice({1: error})
    batcher = Batcher(device.run, budget=ROOMY)
    results = await submit_all(batcher, [[1], [2]])
    afterwards = await submit_all(batcher, [[3]])

    assert all(isinstance(result, BaseException) for result in results)
    assert afterwards == [[30]]


async def test_a_run_cancelled_during_bisection_leaves_no_caller_waiting() -> None:
    device = FaultyDevice({1: asyncio.CancelledError(), 3: ValueError("3")})
    poison = device.poison.pop(1)
    first = True

    async def run(items: list[int], context: BatchContext) -> Sequence[int]:
        nonlocal first
        if not first and 1 in items:
            raise poison
        first = False
        return await device.run(items, context)

    results = await submit_all(Batcher(run, budget=ROOMY), [[1], [2], [3], [4]])

    assert all(isinstance(result, BaseException) for result in results)

"""A collection is embedded again despite a crash at any step or a lost shard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.operations import collections as index_operation
from deployments.operations.reembedding import CollectionReembedding
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, StageUnavailable, Unavailable
from embedder.index.contract.points import Points, Query
from embedder.index.sharding import owners
from embedder.index.vector_index import VectorIndex
from tests.unit.deployments.index_service import IndexService, vectors_of
from tests.unit.deployments.two_model_service import (
    DIGITS,
    GONE,
    NAME,
    TEXTS,
    check,
    digits_of,
    filled_service,
    ignore,
    index_of,
    reembedding_of,
)
from tests.unit.examples import TIMES


def _dying(
    reembedding: CollectionReembedding, monkeypatch: pytest.MonkeyPatch, step: int, *, done: bool
) -> None:
    """Let the operator's process die at its call of this number to a shard, done or not."""
    calls = iter(range(1, 1000))

    def of(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*arguments: Any) -> Any:
            if next(calls) != step:
                return await call(*arguments)
            if done:
                await call(*arguments)
            raise asyncio.CancelledError

        return counted

    for shard in reembedding._shards:
        monkeypatch.setattr(shard, "call", of(shard.call))


async def _is_new(service: IndexService) -> bool:
    """Search as an ingress does, and return which of the models the one version is of."""
    index = index_of(service)
    answers = []
    for width in (4, 3):
        query = Query(NAME, np.ones(width, np.float32), 100, include=("text", "vector"))
        try:
            found = await index.search([query], complete=False, deadline=NEVER)
        except InvalidInput:
            continue
        assert not found.missing
        answers.append((width == 3, found.hits[0]))
    ((new, hits),) = answers
    expected = (digits_of if new else vectors_of)([str(hit.text) for hit in hits])
    assert [hit.vector.tolist() for hit in hits if hit.vector is not None] == expected.tolist()
    assert {hit.id for hit in hits} == set(TEXTS)
    return new


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                TIMES == 1, reason="a call that is not done follows one that is; TEST_EXAMPLES=10"
            ),
        ),
        False,
    ],
)
@pytest.mark.parametrize("abandoned", [True, False])
def test_after_a_crash_at_any_step_the_index_is_consistent_and_can_continue(
    done: bool, abandoned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: set[bool] = set()
    for step in range(1, 1000):
        service = filled_service(tmp_path / str(step), 2)
        try:
            if asyncio.run(_die(service, monkeypatch, step, done=done)):
                break
            outcomes.add(asyncio.run(_go_on(service, abandoned=abandoned)))
        finally:
            service.close()
    assert outcomes == ({True, False} if abandoned else {True})
    assert step > 15, "every call to a shard was the last one once"


async def _die(
    service: IndexService, monkeypatch: pytest.MonkeyPatch, step: int, *, done: bool
) -> bool:
    """Return whether the operator got to the end before it died."""
    reembedding = reembedding_of(service)
    _dying(reembedding, monkeypatch, step, done=done)
    try:
        await reembedding.reembed(NAME, "digits", ignore)
    except asyncio.CancelledError:
        return False
    return True


async def _go_on(service: IndexService, *, abandoned: bool) -> bool:
    """Return whether the collection has the new model at the end."""
    new = await _is_new(service)
    if abandoned:
        with suppress(InvalidInput):  # there is nothing to abandon
            await reembedding_of(service).abandon(NAME)
        assert await _is_new(service) == new
    else:
        info = await reembedding_of(service).reembed(NAME, "digits", ignore)
        assert info.stored == DIGITS
        new = True
    await check(index_of(service), TEXTS, new=new)
    # The collection accepts writes again.
    values = np.ones((1, 3 if new else 4), np.float32)
    await index_of(service).upsert(NAME, Points(["last"], values, ["last"], [{}]), NEVER)
    assert await index_of(service).count(NAME, None, NEVER) == len(TEXTS) + 1
    return new


@pytest.mark.parametrize("away", [0, 1])
async def test_a_shard_that_is_down_at_the_switch_follows_or_delays_it(
    away: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_operation, "RETRY_FOR_S", 0.0)
    service = await asyncio.to_thread(filled_service, tmp_path, 2)
    reembedding = reembedding_of(service)
    broken = list(service.handles.values())[away]
    call = reembedding._shards[0].call

    async def lost(deadline: Any, method: Callable[..., Any], *arguments: Any) -> Any:
        if method is VectorIndex.switch:
            broken.fault = GONE
        return await call(deadline, method, *arguments)

    reembedding._shards[0].call = lost  # type: ignore[method-assign,assignment]
    with pytest.raises(StageUnavailable):
        await reembedding.reembed(NAME, "digits", ignore)
    switched = away == 1  # the first shard decides
    ids = [f"other {number}" for number in range(20)]
    second = ids[int(np.argmax(owners(ids, 2)))]
    point = Points([second], np.ones((1, 3 if switched else 4), np.float32), ["a"], [{}])
    with pytest.raises(Unavailable, match="not available" if switched else "takes no writes"):
        await index_of(service).upsert(NAME, point, NEVER)
    broken.fault = None
    assert await _is_new(service) == switched
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=True)
    await asyncio.to_thread(service.close)

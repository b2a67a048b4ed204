"""No work fails while one of three pools works, and each text gets its own vector."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedder.core.errors import BackendFailure, StageUnavailable
from tests.unit.deployments.encoder.pool_handle import FAST, SLOW, PoolHandle, Pools, PoolStage
from tests.unit.examples import TIMES
from tests.unit.virtual_time import VirtualTime

NAMES = ("works", "first", "second")


@dataclass(frozen=True)
class Submit:
    """Some callers submit a text of letters each."""

    texts: list[str]


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Change:
    """A fault of one of the two pools, or the end of one."""

    pool: Literal["first", "second"]
    what: Literal["start", "stop", "lose calls", "break", "repair", "hang"]


Step = Submit | Pass | Change

STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Submit, st.lists(st.text("abcd", min_size=1, max_size=8), max_size=5)),
        st.builds(Pass, st.sampled_from([0.0, 0.001, 0.1, 0.3, 2.0, 10.0])),
        st.builds(
            Change,
            st.sampled_from(["first", "second"]),
            st.sampled_from(["start", "stop", "lose calls", "break", "repair", "hang"]),
        ),
    ),
    max_size=30,
)


def _change(handle: PoolHandle, what: str) -> None:
    if what in ("start", "stop"):
        handle.stage.kill()  # its replicas are new ones
        handle.run(2 if what == "start" else 0)
    elif what == "hang":
        handle.stage.hangs = True
    else:
        handle.fault = {
            "lose calls": StageUnavailable("Encoder", "lost"),
            "break": BackendFailure("broken"),
        }.get(what)


async def _run(steps: list[Step]) -> tuple[list[str], list[list[float]]]:
    """Return the submitted texts and their vectors; hung pools are lost in the end."""
    handles = {name: PoolHandle(PoolStage(SLOW if name == "works" else FAST)) for name in NAMES}
    pools = Pools(pools=None, **handles)
    await pools.connect()
    await asyncio.sleep(1.0)
    assert pools.states()["works"] == "ready"
    texts: list[str] = []
    work: list[asyncio.Task[list[float]]] = []
    for step in steps:
        if isinstance(step, Submit):
            texts += step.texts
            work += [asyncio.create_task(pools.encode(text)) for text in step.texts]
        elif isinstance(step, Pass):
            await asyncio.sleep(step.seconds)
        else:
            _change(handles[step.pool], step.what)
    await asyncio.sleep(1.0)
    for handle in handles.values():
        if handle.stage.hangs:
            handle.run(0)
    vectors = await asyncio.gather(*work)
    left = [pool.stats for pool in pools.remote]
    assert [one.waiting_tokens for one in left] == [0, 0, 0]
    assert all(pool.tracker._call_tokens == 0 for pool in pools.remote)
    return texts, list(vectors)


@settings(max_examples=TIMES * 100)
@example(
    [
        Pass(0.3),
        Change("second", "stop"),
        Change("first", "hang"),
        Submit(["cc"]),
        Pass(0.3),
        Change("first", "start"),
    ]
)
@given(STEPS)
def test_no_work_fails_while_one_pool_works(steps: list[Step]) -> None:
    async def run() -> tuple[list[str], list[list[float]]]:
        with pytest.MonkeyPatch.context() as patch:
            VirtualTime(patch)
            return await _run(steps)

    texts, vectors = asyncio.run(run())

    assert vectors == [[float(text.count(letter)) for letter in "abcd"] for text in texts]

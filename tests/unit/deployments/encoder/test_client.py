"""The Encoder behind a handle: requests that wait share a call, with priority and time limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deployments.encoder.client import RemoteEncoder
from deployments.encoder.remote_pool import RemotePool
from deployments.settings.encoders import EncoderDeployment, EncoderReplicas
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import NEVER, Deadline
from embedder.core.outputs import OutputKind
from embedder.core.tracing import Traced, serving, step
from embedder.core.types import Encoded, Priority, ReplicaLoad, TokenBatch
from embedder.settings.model import BatchSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import ALIAS, MODEL, LetterEncoder
from tests.unit.deployments.local_handle import as_handle
from tests.unit.traces import Traces, context_of, links_of
from tests.unit.virtual_time import VirtualTime

pytestmark = pytest.mark.usefixtures("virtual_time")

ONE_CALL = EncoderReplicas(max_replicas=1, calls_per_replica=1)


def _encoder(
    stage: LetterEncoder, model: ModelSettings | None = None, **batching: float
) -> RemoteEncoder:
    handle = as_handle(stage)
    return RemoteEncoder(
        RemotePool(EncoderDeployment("Encoder", ONE_CALL), handle),
        handle,
        model or ModelSettings(),
        BatchSettings.model_validate(batching),
        MODEL,
    )


def _row(number: int) -> list[int]:
    return [97] * (number % 5) + [98]


async def test_waiting_batches_share_calls() -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)

    async def encode(number: int) -> Encoded:
        batch = TokenBatch.of([_row(number)])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=NEVER)

    answers = await asyncio.gather(*(encode(number) for number in range(20)))

    assert len(stage.calls) < 5
    assert [answer.vectors.tolist() for answer in answers] == [
        [[n % 5, 1, 0, 0]] for n in range(20)
    ]


async def test_no_call_has_more_inputs_than_a_batch() -> None:
    stage = LetterEncoder()
    tokens = TokenBatch.of([_row(number) for number in range(20)])
    await _encoder(stage, max_items=3).encode(tokens, priority=Priority.BULK, deadline=NEVER)

    assert [len(rows) for rows, _, _ in stage.calls] == [3, 3, 3, 3, 3, 3, 2]


async def test_the_token_vectors_of_a_call_have_at_most_its_bytes() -> None:
    stage = LetterEncoder()
    # 4 MiB have 16 vectors of this width.
    info = replace(MODEL, token_width=2**16)
    handle = as_handle(stage)
    pool = RemotePool(EncoderDeployment("Encoder", ONE_CALL), handle)
    remote = RemoteEncoder(pool, handle, ModelSettings(), BatchSettings(), info)
    rows = [[97] * 8, [98] * 8, [99], [98] * 20]
    for kinds in ((OutputKind.TOKENS,), (OutputKind.DENSE,)):
        tokens = TokenBatch.of(rows, kinds)
        await remote.encode(tokens, priority=Priority.BULK, deadline=NEVER)

    assert [[len(row) for row in rows] for rows, _, _ in stage.calls] == [
        [8, 8],
        [1],
        [20],
        [8, 8, 1, 20],
    ]


@pytest.mark.parametrize(("bulk_delay_s", "first"), [(1000.0, "interactive"), (0.0, "bulk")])
async def test_bulk_work_waits_for_a_call_up_to_bulk_delay_s(
    bulk_delay_s: float, first: str
) -> None:
    stage = LetterEncoder()
    remote = _encoder(stage, bulk_delay_s=bulk_delay_s, max_items=1)

    def encode(ids: list[int], priority: Priority) -> asyncio.Task[Encoded]:
        batch = TokenBatch.of([ids])
        return asyncio.create_task(remote.encode(batch, priority=priority, deadline=NEVER))

    # The others wait while the first call is in progress.
    sent = [encode([97], Priority.INTERACTIVE)]
    await asyncio.sleep(0)
    sent += [encode([98], Priority.BULK), encode([99], Priority.INTERACTIVE)]
    await asyncio.gather(*sent)
    names = {97: "in flight", 98: "bulk", 99: "interactive"}

    assert [names[rows[0][0]] for rows, _, _ in stage.calls][:2] == ["in flight", first]


async def test_queue_s_has_the_wait_for_a_call_without_the_call_itself(
    virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = BatchingEncoder.__init__.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "clock", virtual_time)

    class SlowEncoder(LetterEncoder):
        async def encode(
            self,
            model: ModelSettings,
            tokens: TokenBatch,
            priority: Priority,
            deadline: Deadline,
            requests: tuple[str, ...] = (),
        ) -> Encoded:
            await asyncio.sleep(0.02)
            return await super().encode(model, tokens, priority, deadline)

    stage = SlowEncoder()
    stage.queue_s, stage.inference_s = 5.0, 7.0
    remote = _encoder(stage)

    async def encode(number: int) -> Encoded:
        batch = TokenBatch.of([[97] * 100])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=NEVER)

    first, second = await asyncio.gather(encode(0), encode(1))

    assert first.inference_s == second.inference_s == 7.0
    assert first.queue_s == pytest.approx(5.0)
    assert second.queue_s == pytest.approx(5.02)


@pytest.mark.parametrize("priority", Priority)
async def test_a_call_has_the_priority_and_the_deadline(
    priority: Priority,
) -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)
    batch = TokenBatch.of([[97]])
    deadline = Deadline.after(30)
    await remote.encode(batch, priority=priority, deadline=deadline)
    await remote.encode(batch, priority=priority, deadline=NEVER)

    assert [call[1:] for call in stage.calls] == [(priority, deadline), (priority, NEVER)]


class LoadedEncoder(LetterEncoder):
    """Reports a load with each answer."""

    async def encode(self, *call: Any) -> Encoded:
        return replace(await super().encode(*call), load=LOAD)


LOAD = ReplicaLoad("replica", 70, 1000.0)


async def test_the_load_in_an_answer_is_reported() -> None:
    loads: list[ReplicaLoad] = []
    handle = as_handle(LoadedEncoder())
    pool = RemotePool(EncoderDeployment("Encoder", ONE_CALL), handle, loads.append)
    remote = RemoteEncoder(pool, handle, ModelSettings(), BatchSettings(), MODEL)
    await remote.encode(TokenBatch.of([[97]]), priority=Priority.BULK, deadline=NEVER)

    assert loads == [LOAD]


async def test_a_call_names_its_model() -> None:
    remotes = [_encoder(LetterEncoder(), ModelSettings(name=name)) for name in (ALIAS, "own")]
    batch = TokenBatch.of([[97]])
    answers = [
        await remote.encode(batch, priority=Priority.BULK, deadline=NEVER) for remote in remotes
    ]

    assert [answer.vectors.tolist() for answer in answers] == [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]


async def test_the_spans_of_traced_requests_go_with_their_call_and_that_of_the_batch_returns() -> (
    None
):
    traces, stage = Traces(), LetterEncoder()
    stage.batches = traces.request().contexts
    remote = _encoder(stage)

    async def encode(request: Traced | None) -> Encoded:
        with serving(request), step("encode"):
            return await remote.encode(
                TokenBatch.of([[97]]), priority=Priority.INTERACTIVE, deadline=NEVER
            )

    requests = [traces.request(), None, traces.request()]
    answers = await asyncio.gather(*map(encode, requests))
    encodes = traces.named("encode")

    assert len(stage.calls) == 1
    assert stage.requests == tuple(map(context_of, encodes))
    assert [links_of(span) for span in encodes] == [list(stage.batches)] * 2
    assert {answer.batches for answer in answers} == {stage.batches}

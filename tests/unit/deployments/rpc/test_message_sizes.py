"""Calls of any width and size within the limits succeed over gRPC's limit of 4 MiB.

The handles here refuse what gRPC refuses, and the stages behind them are the real ones, but for
the model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployments.cache.client import RemoteCache
from deployments.cache.replica import CacheReplica
from deployments.encoder.client import RemoteEncoder
from deployments.encoder.remote_pool import RemotePool
from deployments.rpc import message_size
from deployments.rpc.handle_client import RETRIES, HandleClient
from deployments.settings.encoders import EncoderDeployment, EncoderReplicas
from deployments.settings.service import ServeSettings
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.core.deadline import NEVER, Deadline
from embedder.core.entries.entries import Entries
from embedder.core.errors import StageUnavailable
from embedder.core.types import Encoded, Priority, TokenBatch
from embedder.settings.model import BatchSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import MODEL
from tests.unit.deployments.local_handle import LocalHandle, as_handle
from tests.unit.deployments.rpc.grpc_limit import GRPC_BYTES, too_large
from tests.unit.waiting import until

SETTINGS = ServeSettings.model_validate(
    {"data_directory": None, "cache": {"max_bytes": 128 * 2**20, "shards": 1}}
)
widths = pytest.mark.parametrize("width", [384, 768, 1024, 4096])


class Counter:
    """Counts its calls, and answers with the requested number of bytes."""

    def __init__(self) -> None:
        self.calls = 0

    async def bytes(self, count: int, given: bytes = b"") -> bytes:
        self.calls += 1
        return bytes(count)


class WideEncoder:
    """Answers the first token of each input in every component."""

    def __init__(self, width: int) -> None:
        self.width = width

    async def encode(
        self, model: ModelSettings, tokens: TokenBatch, priority: Priority, deadline: Deadline
    ) -> Encoded:
        firsts = np.array([row[0] for row in tokens.rows()], np.float32)
        return Encoded(np.tile(firsts[:, None], self.width), 0.0, 0.0)


async def test_a_request_above_the_limit_arrives_and_is_computed_once() -> None:
    stage = Counter()
    handle = LocalHandle(stage)

    assert (
        await HandleClient("Encoder", as_handle(handle)).call("bytes", 1, bytes(GRPC_BYTES))
        == b"\0"
    )
    assert (stage.calls, handle.by_reference) == (1, ["bytes"])


async def test_an_answer_above_the_limit_arrives_despite_a_wrong_estimate() -> None:
    handle = LocalHandle(Counter())
    answer = await HandleClient("Encoder", as_handle(handle)).call("bytes", GRPC_BYTES)

    assert len(answer) == GRPC_BYTES
    assert handle.by_reference == ["bytes"]


async def test_a_call_with_a_large_estimate_is_computed_once() -> None:
    stage = Counter()
    remote = HandleClient("Encoder", as_handle(stage))

    assert len(await remote.call("bytes", GRPC_BYTES, size=GRPC_BYTES)) == GRPC_BYTES
    assert stage.calls == 1


async def test_small_calls_do_not_use_the_object_store() -> None:
    handle = LocalHandle(Counter())
    await HandleClient("Encoder", as_handle(handle)).call("bytes", 1, size=message_size.LARGE_BYTES)

    assert handle.by_reference == []


async def test_a_call_refused_also_by_reference_fails() -> None:
    class Refusing:
        def __init__(self) -> None:
            self.calls = 0

        async def ask(self) -> None:
            self.calls += 1
            raise too_large(1)

    stage = Refusing()

    with pytest.raises(StageUnavailable):
        await HandleClient("Encoder", as_handle(stage)).call("ask")
    assert stage.calls <= 2 + RETRIES


@widths
async def test_an_encoder_answers_2048_short_inputs_of_any_width(width: int) -> None:
    handle = LocalHandle(WideEncoder(width))
    pool = EncoderDeployment("Encoder", EncoderReplicas(max_replicas=1))
    remote = RemoteEncoder(
        RemotePool(pool, as_handle(handle)),
        as_handle(handle),
        ModelSettings(),
        BatchSettings(),
        replace(MODEL, max_batch_tokens=32_768, width=width),
    )
    tokens = TokenBatch.of([[number] for number in range(2048)])
    answer = await remote.encode(tokens, priority=Priority.BULK, deadline=NEVER)

    assert answer.vectors.shape == (2048, width)
    assert answer.vectors[:, -1].tolist() == list(range(2048))


@widths
async def test_a_cache_has_2048_entries_of_any_width_and_its_circuit_stays_closed(
    width: int,
) -> None:
    handle = LocalHandle(CacheReplica(SETTINGS, "EmbeddingCache-0"))
    # A long timeout, so that a slow machine does not fail the test.
    cache = FailOpenCache(RemoteCache("EmbeddingCache-0", as_handle(handle)), timeout_s=60)
    keys = [number.to_bytes(32, "big") for number in range(2048)]
    entries = Entries.allocate(len(keys), width)
    entries.vectors[:] = np.arange(len(keys), dtype=np.float32)[:, None]
    cache.put_later(keys, entries)
    await until(lambda: cache.state.pending == 0)
    hits = [await cache.get_many(keys, width) for _ in range(2)]

    assert all(np.array_equal(one.entries.vectors, entries.vectors) for one in hits)
    assert (cache.state.failures, cache.state.circuit) == (0, CircuitState.CLOSED)

"""The encoder's health: a stuck device is noticed, a busy one is left alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from deployments import encoder
from deployments.encoder import EncoderReplica
from deployments.settings import ServeSettings
from embedder.types import Priority, TokenBatch, Vectors


@pytest.fixture(scope="module")
def replica() -> EncoderReplica:
    """Return a replica with the default model."""
    return EncoderReplica(ServeSettings())


async def test_an_idle_replica_computes_to_prove_its_health(replica: EncoderReplica) -> None:
    before = replica._encoder.batcher.stats.batches
    await replica.check_health()

    assert replica._encoder.batcher.stats.batches == before + 1


async def test_a_device_that_fails_while_idle_is_not_healthy(
    replica: EncoderReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tokens: TokenBatch) -> Vectors:
        raise RuntimeError("illegal memory access")

    monkeypatch.setattr(replica._encoder._backend, "encode", fail)

    with pytest.raises(RuntimeError, match="illegal memory access"):
        await replica.check_health()


async def test_a_busy_replica_is_healthy_until_no_batch_has_ended_for_long(
    replica: EncoderReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = replica._encoder._backend.encode

    def wait(tokens: TokenBatch) -> Vectors:
        gate.wait(20)
        return real(tokens)

    await replica.check_health()
    monkeypatch.setattr(replica._encoder._backend, "encode", wait)
    call = asyncio.create_task(
        replica.encode(TokenBatch.of([[101, 102]]), Priority.INTERACTIVE, None)
    )
    await asyncio.sleep(0.01)
    await replica.check_health()
    monkeypatch.setattr(encoder, "STUCK_S", 0.0)
    with pytest.raises(RuntimeError, match="no batch has ended"):
        await replica.check_health()
    gate.set()
    await call
    await replica.check_health()

"""The load that an encoder replica reports with every answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deployments.encoder.replica import EncoderReplica
from deployments.rpc.replica_name import LOCAL
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.core.types import Priority, ReplicaLoad, TokenBatch
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_tiny_bert


async def test_every_answer_has_the_load_of_the_replica(tmp_path: Path) -> None:
    model = ModelSettings(name=str(write_tiny_bert(tmp_path)), offline=True)
    settings = ServeSettings.model_validate({"batching": {"autotune_s": 0}})
    replica = EncoderReplica(settings)

    async def load(rows: int) -> ReplicaLoad:
        tokens = TokenBatch.of([[2] * 8] * rows)
        found = (await replica.encode(model, tokens, Priority.INTERACTIVE, NEVER)).load
        assert found is not None
        return found

    first, second = await load(1), await load(64)
    together = await asyncio.gather(load(1), load(1))

    assert (first.replica, first.queued_tokens, first.tokens_per_s) == (LOCAL, 0, 0.0)
    assert second.tokens_per_s > 0
    assert [one.queued_tokens for one in together] in ([8, 0], [0, 8], [0, 0])

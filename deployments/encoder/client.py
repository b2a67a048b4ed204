"""The Encoder deployment as a stage of the pipeline: waiting requests share one call."""

from __future__ import annotations

from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.settings.stages import StageSettings
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.core.types import Encoded, TokenBatch
from embedder.settings.model import BatchSettings, ModelSettings

WORTH_TOKENS = 256
"""Encoding so many tokens takes several times as long as a call between processes. Fewer tokens
wait until a replica is free."""


class RemoteEncoder(BatchingEncoder):
    """The Encoder deployment as the pipeline's stage for one model.

    A call holds at most one batch of the encoder, of ``max_batch_tokens``, and its answer at most
    `GATHERED_BYTES` of vectors of ``width``.
    """

    def __init__(
        self,
        handle: Handle,
        stage: StageSettings,
        model: ModelSettings,
        batching: BatchSettings,
        *,
        max_batch_tokens: int,
        width: int,
    ) -> None:
        self._client = HandleClient("Encoder", handle)
        self._model = model
        self._width = width
        super().__init__(
            self._call,
            budget=Budget(
                max_batch_tokens,
                max_items=min(batching.max_items, message_size.rows_within(width)),
                bulk_delay_s=batching.bulk_delay_s,
            ),
            slots=stage.concurrent_calls(worth_tokens=WORTH_TOKENS),
            cancel_abandoned=True,
        )

    async def _call(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        encoded: Encoded = await self._client.call(
            "encode",
            self._model,
            tokens,
            context.priority,
            context.deadline,
            size=4 * max(len(tokens) * self._width, len(tokens.ids)),
            deadline=context.deadline,
        )
        return encoded

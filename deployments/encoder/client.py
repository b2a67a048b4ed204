"""One pool of encoders as a stage of the pipeline: waiting requests share one call."""

from __future__ import annotations

import hashlib
import logging
from functools import partial

from deployments.encoder.remote_pool import RemotePool
from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.running_replicas import running_replicas
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.core.errors import BackendFailure, StageUnavailable
from embedder.core.tracing import current_contexts
from embedder.core.types import Encoded, ModelInfo, TokenBatch
from embedder.models.catalogue import model_names
from embedder.settings.model import BatchSettings, ModelSettings

WORTH_TOKENS = 256
"""Encoding so many tokens takes several times as long as a call between processes. Fewer tokens
wait until a replica is free."""

logger = logging.getLogger("ray.serve")


class RemoteEncoder(BatchingEncoder):
    """One pool of encoders as the pipeline's stage for one model.

    A call holds at most one batch of the replicas, which have loaded the model as ``info``, and its
    answer at most `GATHERED_BYTES` of vectors, or the token vectors of one input. Unless the
    pool is ``alone``, a call fails when the pool has no replica, instead of waiting for one.
    """

    def __init__(
        self,
        pool: RemotePool,
        handle: Handle,
        model: ModelSettings,
        batching: BatchSettings,
        info: ModelInfo,
        *,
        alone: bool = True,
    ) -> None:
        self._client = HandleClient(pool.deployment, handle)
        self._pool = pool
        self._model = model
        self._info = info
        self._alone = alone
        super().__init__(
            self._call,
            budget=Budget(
                info.max_batch_tokens,
                max_items=min(batching.max_items, message_size.rows_within(info.width)),
                bulk_delay_s=batching.bulk_delay_s,
            ),
            slots=lambda: pool.stage.concurrent_calls(
                worth_tokens=WORTH_TOKENS, replicas=running_replicas(handle)
            ),
            cancel_abandoned=True,
            most_tokens=partial(message_size.tokens_within, info),
        )

    async def _call(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        pool, count, requests = self._pool, len(tokens.ids), current_contexts()
        kinds = tokens.kinds or self._info.outputs[:1]
        answer_bytes = message_size.outputs_bytes(self._info, kinds, len(tokens), count)
        call = self._client.call(
            "encode",
            self._model,
            tokens,
            context.priority,
            context.deadline,
            *((requests,) if requests else ()),
            size=max(answer_bytes, 4 * count),
            deadline=context.deadline,
        )
        pool.tracker.called(count)
        try:
            encoded: Encoded = await (call if self._alone else pool.while_running(call))
        except BaseException as error:
            failed = isinstance(error, (StageUnavailable, BackendFailure))
            if failed and not self._alone and not pool.tracker.is_paused(pool.now()):
                logger.warning("%s failed, other pools get its work: %r", pool.deployment, error)
            pool.tracker.failed(count, pool.now(), pause=failed)
            raise
        pool.tracker.answered(count, encoded.load, pool.now())
        if encoded.load is not None:
            pool.reported(encoded.load)
        return encoded


def handle_for(encoder: Handle, model: ModelSettings) -> Handle:
    """Return a handle whose calls prefer a replica that has loaded the model.

    Every replica has the pinned models, so their calls go to the least busy one.
    """
    if model.pinned:
        return encoder
    digest = hashlib.blake2b(model.key.encode(), digest_size=8).hexdigest()
    return encoder.options(multiplexed_model_id=f"{model_names(model)[0]}-{digest}")

"""The Tokenizer deployment: runs the library's tokenizers in replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.autoscaling.reports import QUEUED, RATE
from deployments.logs.replica_log import configure_replica_log
from deployments.metrics.encoding import MODELS
from deployments.metrics.publisher import MetricPublisher
from deployments.metrics.queues import QUEUES
from deployments.rpc.model_updates import ModelUpdates
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_name import ReplicaStats, replica_id
from deployments.settings.service import ServeSettings
from embedder.batching.work_meter import WorkMeter
from embedder.chunking.request import ChunkOptions, ChunkTable
from embedder.core.deadline import NEVER
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.residency import ModelState
from embedder.inference.tokenization import OffsetToken
from embedder.inference.tokenizer_pool import TokenizerPool
from embedder.settings.model import ModelSettings


class TokenizerReplica:
    """Tokenizes inputs for several models."""

    def __init__(self, settings: ServeSettings) -> None:
        configure_replica_log(settings.logs)
        self._tokenizers = TokenizerPool(settings)
        self._pinned = ModelUpdates(self._tokenizers)
        self._work = WorkMeter()
        self._metrics, self._model_metrics = MetricPublisher(QUEUES), MetricPublisher(MODELS)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the tokenizers of the pinned models; Serve calls this at the start and on change."""
        await self._pinned.apply(user_config)

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        """Return the tokens of every input, truncated to the model's limit as ``truncate`` says."""
        characters = sum(map(len, inputs))
        with self._work.queued(characters):
            async with self._tokenizers.use(model) as tokenizer:
                with self._work.computed(characters):
                    return await tokenizer.tokenize(inputs, truncate=truncate, deadline=NEVER)

    async def tokenize_with_offsets(
        self, model: ModelSettings, texts: Sequence[str], add_special_tokens: bool
    ) -> list[PickledRows[OffsetToken]]:
        """Return every token of every text with its offsets, without truncation."""
        async with self._tokenizers.use(model) as tokenizer:
            rows = await tokenizer.tokenize_with_offsets(
                texts, add_special_tokens=add_special_tokens
            )
        return await asyncio.to_thread(lambda: [PickledRows.of(OffsetToken, row) for row in rows])

    async def decode(
        self, model: ModelSettings, rows: Sequence[Sequence[int]], skip_special_tokens: bool
    ) -> list[str]:
        """Return the text of every row of ids."""
        async with self._tokenizers.use(model) as tokenizer:
            return await tokenizer.decode(rows, skip_special_tokens=skip_special_tokens)

    async def split(
        self,
        model: ModelSettings,
        texts: Sequence[Input],
        options: ChunkOptions,
        prompt: str,
        most: int,
    ) -> ChunkTable:
        """Return the chunks of every text behind ``prompt``, ``most`` in all."""
        characters = sum(map(len, texts))
        with self._work.queued(characters):
            async with self._tokenizers.use(model) as tokenizer:
                with self._work.computed(characters):
                    split = await tokenizer.split_in_thread(
                        texts, options, prompt=prompt, most=most
                    )
        return ChunkTable.of(split)

    async def stats(self) -> ReplicaStats[ModelState[str]]:
        """Return the state of every tokenizer of this replica, and the queue's statistics."""
        tokenizers = self._tokenizers
        return ReplicaStats(replica_id(), tokenizers.states(), (tokenizers.queue,))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the queued characters and the rate; Serve reports them to the controller."""
        return {QUEUED: self._work.queued_tokens, RATE: self._work.tokens_per_s}

    async def check_health(self) -> None:
        """Publish the metrics and unload unused models; Serve calls this every few seconds."""
        self._metrics.publish_queues([self._tokenizers.queue])
        for name, loads in self._tokenizers.load_stats().items():
            self._model_metrics.publish(loads.numbers(), name)
        await self._tokenizers.unload_idle()

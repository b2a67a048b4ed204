"""The tokenizers and encoders of several models in one process, loaded when they are asked for.

A stage here is asked with the settings of the model that is meant, so whoever asks decides what a
name stands for. Knows nothing of names, requests or Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from embedder.batching.batcher import BatcherStats
from embedder.core.errors import ModelNotFound, Unavailable
from embedder.core.types import Encoded, Input, ModelInfo, Priority, TokenBatch, Tokenized, Truncate
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder, LocalTokenizer, device_thread
from embedder.inference.pool import ModelPool
from embedder.inference.residency import ModelState
from embedder.inference.tokenization import Piece
from embedder.models.catalogue import find
from embedder.models.files import ModelFiles
from embedder.pipeline.threads import QueueStats, summed
from embedder.settings.model import EmbedderSettings, ModelSettings

StageT = TypeVar("StageT")


@dataclass(frozen=True, slots=True)
class EncoderState:
    """One model of an encoder: how far it is and, once it is loaded, what waits and was computed.

    ``waiting`` counts inputs.
    """

    model: ModelState[str]
    waiting: int = 0
    batching: BatcherStats | None = None


class _Pinned(Generic[StageT]):
    """A pool of stages by the settings of their models, of which some are always there."""

    def __init__(self, pool: ModelPool[str, StageT]) -> None:
        self.pool = pool
        self._settings: dict[str, ModelSettings] = {}
        self._pins: set[str] = set()
        self._pinning = asyncio.Lock()

    def key(self, model: ModelSettings) -> str:
        """Return the pool's key of a model, whose settings are remembered for its load."""
        key = model.key
        self._settings[key] = model  # the last one counts: what they share a key despite may change
        return key

    def settings(self, key: str) -> ModelSettings:
        """Return the settings that were given a key."""
        return self._settings[key]

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load these models and keep them; what was pinned before may go."""
        async with self._pinning:
            wanted = {self.key(model) for model in models}
            failed: list[Exception] = []
            for key in sorted(wanted - self._pins):
                try:
                    await self.pool.pin(key)
                except Exception as error:  # noqa: BLE001 - the others are wanted all the same
                    failed.append(error)
                else:
                    self._pins.add(key)
            if failed:
                raise failed[0]
            # Last: whoever is still asked for the old ones finds them.
            for key in self._pins - wanted:
                self.pool.unpin(key)
            self._pins = wanted


class ManyTokenizers:
    """The tokenizers of several models."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._loaded: dict[str, LocalTokenizer] = {}
        self._stages: _Pinned[LocalTokenizer] = _Pinned(
            ModelPool(
                self._load,
                unload=self._unload,
                size=lambda _: 0,
                estimate=lambda _: 0,
                idle_unload_s=settings.pool.idle_unload_s,
            )
        )

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load these models' tokenizers and keep them; what was pinned before may go.

        Raises:
            ConfigurationError: one of them cannot be loaded; the others are pinned.
        """
        await self._stages.pin(models)

    async def tokenize(
        self,
        model: ModelSettings,
        inputs: Sequence[Input],
        *,
        truncate: Truncate,
        deadline: float | None = None,
    ) -> Tokenized:
        """Return the tokens that a model reads of every input."""
        async with self._stages.pool.use(self._stages.key(model), deadline) as tokenizer:
            return await tokenizer.tokenize(inputs, truncate=truncate, deadline=deadline)

    async def pieces(
        self, model: ModelSettings, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[Piece]]:
        """Return every token that a model's tokenizer finds in every text, with its place there."""
        async with self._stages.pool.use(self._stages.key(model)) as tokenizer:
            return await tokenizer.pieces(texts, add_special_tokens=add_special_tokens)

    async def decode(
        self, model: ModelSettings, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool
    ) -> list[str]:
        """Return the text that every row of a model's ids stands for."""
        async with self._stages.pool.use(self._stages.key(model)) as tokenizer:
            return await tokenizer.decode(rows, skip_special_tokens=skip_special_tokens)

    async def unload_idle(self) -> None:
        """Unload what nobody has used for long."""
        await self._stages.pool.unload_idle()

    def states(self) -> list[ModelState[str]]:
        """Return what is loaded, being loaded, or failed when last tried."""
        return self._stages.pool.states()

    @property
    def queue(self) -> QueueStats:
        """Return what waits for the threads of all loaded tokenizers, and what they do."""
        return summed("tokenizer", [one.queue for one in list(self._loaded.values())])

    def _load(self, key: str) -> LocalTokenizer:
        self._loaded[key] = LocalTokenizer.load(self._stages.settings(key))
        return self._loaded[key]

    def _unload(self, tokenizer: LocalTokenizer) -> None:
        for key, one in list(self._loaded.items()):
            if one is tokenizer:
                del self._loaded[key]


class ManyEncoders:
    """The encoders of several models on one device; a CPU computes for one of them at a time."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        # Cores that compute are wanted by the rest of the service too.
        self._device = device_thread(gives_way=settings.backend.device in ("auto", "cpu"))
        self._loaded: dict[str, LocalEncoder] = {}
        self._stages: _Pinned[LocalEncoder] = _Pinned(
            ModelPool(
                self._load,
                unload=self._unload,
                size=lambda encoder: encoder.model.memory_bytes,
                estimate=self._estimate,
                max_bytes=settings.pool.max_bytes,
                idle_unload_s=settings.pool.idle_unload_s,
            )
        )

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load these models and keep them; what was pinned before may go.

        Raises:
            ConfigurationError: one of them cannot be loaded; the others are pinned.
        """
        await self._stages.pin(models)

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Load a model if need be, and return what the other stages need to know of it."""
        async with self._stages.pool.use(self._stages.key(model)) as encoder:
            return encoder.model

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        *,
        priority: Priority,
        deadline: float | None,
    ) -> Encoded:
        """Return float32[n, width] of a batch, pooled, before normalisation, in order."""
        async with self._stages.pool.use(self._stages.key(model), deadline) as encoder:
            return await encoder.encode(tokens, priority=priority, deadline=deadline)

    async def unload_idle(self) -> None:
        """Unload what nobody has used for long."""
        await self._stages.pool.unload_idle()

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and nothing runs, for any model."""
        return all(encoder.batcher.idle for _, encoder in self._encoders())

    @property
    def batches(self) -> int:
        """Return how many batches of the loaded models have ended, well or not."""
        stats = [encoder.batcher.stats for _, encoder in self._encoders()]
        return sum(one.batches + one.failed for one in stats)

    async def probe(self) -> None:
        """Compute one token with one of the loaded models, to see that the device answers."""
        token = TokenBatch.of([[0]])
        for key, encoder in self._encoders()[:1]:
            try:
                await encoder.encode(token, priority=Priority.INTERACTIVE, deadline=None)
            except Unavailable:
                if self._loaded.get(key) is encoder:  # else it had to make room meanwhile
                    raise

    def states(self) -> list[ModelState[str]]:
        """Return what is loaded, being loaded, or failed when last tried."""
        return self._stages.pool.states()

    def stats(self) -> list[EncoderState]:
        """Return the states with what each loaded model has computed: copies of all counters."""
        batchers = {key: encoder.batcher for key, encoder in self._encoders()}
        return [
            EncoderState(state, len(batchers[state.key]), replace(batchers[state.key].stats))
            if state.key in batchers
            else EncoderState(state)
            for state in self.states()
        ]

    def _encoders(self) -> list[tuple[str, LocalEncoder]]:
        # A copy, made in one step: a load puts its encoder in from a thread of its own.
        return list(self._loaded.items())

    def _load(self, key: str) -> LocalEncoder:
        model = self._stages.settings(key)
        loaded = load_model(self._settings.model_copy(update={"model": model}))
        self._loaded[key] = LocalEncoder(loaded, self._settings.batching, self._device)
        return self._loaded[key]

    def _unload(self, encoder: LocalEncoder) -> None:
        encoder.close()
        for key, one in self._encoders():
            if one is encoder:
                del self._loaded[key]

    def _estimate(self, key: str) -> int:
        """Return the size of the files: what a load holds at its most, whatever it then keeps.

        The event loop cannot wait for the hub, so of files that are still there the catalogue
        tells the size; without a row it shows once they have been loaded.
        """
        model = self._stages.settings(key)
        try:
            files = ModelFiles.open(model.model_copy(update={"offline": True}))
        except ModelNotFound:
            row = find(model.name)
            return 4 * row.parameters if row else 0
        return sum(path.stat().st_size for path in files.weights)

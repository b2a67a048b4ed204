"""The tokenizers of several models in one process, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.core.deadline import NEVER, Deadline
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.local import LocalTokenizer
from embedder.inference.pinned_pool import PinnedPool
from embedder.inference.pool import ModelPool
from embedder.inference.residency import ModelState
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.threads import QueueStats, summed
from embedder.settings.model import EmbedderSettings, ModelSettings


class TokenizerPool:
    """The tokenizers of several models in one process."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._loaded: dict[str, LocalTokenizer] = {}
        self._stages: PinnedPool[LocalTokenizer] = PinnedPool(
            ModelPool(
                self._load,
                unload=self._unload,
                size=lambda _: 0,
                estimate=lambda _: 0,
                idle_unload_s=settings.pool.idle_unload_s,
            )
        )

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load and pin the tokenizers of these models, and unpin all others.

        Raises:
            ConfigurationError: a model cannot be loaded; the other models are pinned.
        """
        await self._stages.pin(models)

    async def tokenize(
        self,
        model: ModelSettings,
        inputs: Sequence[Input],
        *,
        truncate: Truncate,
        deadline: Deadline = NEVER,
    ) -> Tokenized:
        """Return the token ids of every input for a model."""
        async with self._stages.pool.use(self._stages.key(model), deadline) as tokenizer:
            return await tokenizer.tokenize(inputs, truncate=truncate, deadline=deadline)

    async def tokenize_with_offsets(
        self, model: ModelSettings, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[OffsetToken]]:
        """Return every token of every text with its offsets."""
        async with self._stages.pool.use(self._stages.key(model)) as tokenizer:
            return await tokenizer.tokenize_with_offsets(
                texts, add_special_tokens=add_special_tokens
            )

    async def decode(
        self, model: ModelSettings, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool
    ) -> list[str]:
        """Return the text of every row of a model's ids."""
        async with self._stages.pool.use(self._stages.key(model)) as tokenizer:
            return await tokenizer.decode(rows, skip_special_tokens=skip_special_tokens)

    async def unload_idle(self) -> None:
        """Unload models that have not been used for ``pool.idle_unload_s``."""
        await self._stages.pool.unload_idle()

    def states(self) -> list[ModelState[str]]:
        """Return the state of each model that waits, loads, is ready, or failed to load."""
        return self._stages.pool.states()

    @property
    def queue(self) -> QueueStats:
        """Return the sum of the queue statistics of all loaded tokenizers."""
        return summed("tokenizer", [one.queue for one in list(self._loaded.values())])

    def _load(self, key: str) -> LocalTokenizer:
        self._loaded[key] = LocalTokenizer.load(self._stages.settings(key))
        return self._loaded[key]

    def _unload(self, tokenizer: LocalTokenizer) -> None:
        for key, one in list(self._loaded.items()):
            if one is tokenizer:
                del self._loaded[key]

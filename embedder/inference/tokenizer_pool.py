"""The tokenizers of several models in one process, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.local import LocalTokenizer
from embedder.inference.pinned_pool import PinnedPool
from embedder.inference.pool import ModelPool
from embedder.inference.residency import ModelState
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.threads import QueueStats, summed
from embedder.settings.model import EmbedderSettings, ModelSettings


class TokenizerPool:
    """The tokenizers of several models."""

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

    async def tokenize_with_offsets(
        self, model: ModelSettings, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[OffsetToken]]:
        """Return every token that a model's tokenizer finds in every text, with its place there."""
        async with self._stages.pool.use(self._stages.key(model)) as tokenizer:
            return await tokenizer.tokenize_with_offsets(
                texts, add_special_tokens=add_special_tokens
            )

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

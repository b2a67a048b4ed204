"""The tokenizers of several models in one process."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.core.deadline import NEVER, Deadline
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.local import LocalTokenizer
from embedder.inference.stage_pool import StagePool
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.threads import QueueStats, summed
from embedder.settings.model import EmbedderSettings, ModelSettings


class TokenizerPool(StagePool[LocalTokenizer]):
    """The tokenizers of several models in one process; their size is not limited."""

    def __init__(self, settings: EmbedderSettings) -> None:
        super().__init__(
            LocalTokenizer.load,
            unload=LocalTokenizer.close,
            size=lambda _: 0,
            estimate=lambda _: 0,
            max_bytes=None,
            settings=settings.pool,
        )

    async def tokenize(
        self,
        model: ModelSettings,
        inputs: Sequence[Input],
        *,
        truncate: Truncate,
        deadline: Deadline = NEVER,
    ) -> Tokenized:
        """Return the token ids of every input for a model."""
        async with self.use(model, deadline) as tokenizer:
            return await tokenizer.tokenize(inputs, truncate=truncate, deadline=deadline)

    async def tokenize_with_offsets(
        self, model: ModelSettings, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[OffsetToken]]:
        """Return every token of every text with its offsets."""
        async with self.use(model) as tokenizer:
            return await tokenizer.tokenize_with_offsets(
                texts, add_special_tokens=add_special_tokens
            )

    async def decode(
        self, model: ModelSettings, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool
    ) -> list[str]:
        """Return the text of every row of a model's ids."""
        async with self.use(model) as tokenizer:
            return await tokenizer.decode(rows, skip_special_tokens=skip_special_tokens)

    @property
    def queue(self) -> QueueStats:
        """Return the sum of the queue statistics of all loaded tokenizers."""
        return summed("tokenizer", [tokenizer.queue for tokenizer in self.loaded.values()])

"""The tokenizers of several models in one process."""

from __future__ import annotations

from embedder.inference.local import LocalTokenizer
from embedder.inference.stage_pool import StagePool
from embedder.pipeline.threads import QueueStats, summed
from embedder.settings.model import EmbedderSettings


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

    @property
    def queue(self) -> QueueStats:
        """Return the sum of the queue statistics of all loaded tokenizers."""
        return summed("tokenizer", [tokenizer.queue for tokenizer in self.loaded.values()])

"""The Tokenizer deployment: a shim that runs the library's tokenizer as replicas."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.settings import ServeSettings
from embedder.local import LocalTokenizer
from embedder.types import Input, Tokenized, Truncate


class TokenizerReplica:
    """Turns inputs into packed tokens."""

    def __init__(self, settings: ServeSettings) -> None:
        self._tokenizer = LocalTokenizer.load(settings.model)

    async def tokenize(self, inputs: Sequence[Input], truncate: Truncate) -> Tokenized:
        """Return the tokens of every input, cut to the model's limit as ``truncate`` says."""
        return await self._tokenizer.tokenize(inputs, truncate=truncate, deadline=None)

"""The pipeline's stages in this process: threads where the work leaves the interpreter.

The graph's deployments use the same classes; knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from embedder.backends.base import Backend, load_backend
from embedder.batching.gathering import GatheringEncoder
from embedder.batching.packing import Budget
from embedder.batching.waiting import Terms
from embedder.config import BatchSettings, EmbedderSettings, ModelSettings
from embedder.models.files import ModelFiles
from embedder.tokenization import Tokenizer
from embedder.types import Input, ModelInfo, TokenBatch, Tokenized, Truncate, Vectors


class LocalTokenizer:
    """Tokenize in a thread: the Rust tokenizer releases the interpreter and uses every core."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, settings: ModelSettings) -> LocalTokenizer:
        """Load the tokenizer of the model that the settings name.

        Raises:
            ConfigurationError: the model is missing, unsafe, or has no fast tokenizer.
        """
        files = ModelFiles.open(settings)
        return cls(Tokenizer.load(files.tokenizer, max_tokens=files.max_tokens))

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        """Return the tokens of every input."""
        return await asyncio.to_thread(self._tokenizer.encode, inputs, truncate=truncate)


class LocalEncoder(GatheringEncoder):
    """Encode on a device of this process, one batch at a time, in a thread of its own."""

    def __init__(self, backend: Backend, model: ModelInfo, settings: BatchSettings) -> None:
        self.model = model
        self._backend = backend
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        budget = Budget(
            max_tokens=model.max_batch_tokens,
            max_items=settings.max_items,
            padded=backend.padded,
            bulk_delay_s=settings.bulk_delay_s,
        )
        super().__init__(self._compute, budget=budget)

    @classmethod
    def load(cls, settings: EmbedderSettings) -> LocalEncoder:
        """Load the model that the settings name, and compute something with it.

        Raises:
            ConfigurationError: the model is missing, unsafe or not supported.
        """
        files = ModelFiles.open(settings.model)
        digest = files.digest  # before anything computes with weights that are not the pinned ones
        backend = load_backend(files, settings.backend)
        backend.encode(TokenBatch.of([[0] * length for length in (1, files.max_tokens)]))
        model = ModelInfo(
            name=files.name,
            repository=files.repository,
            revision=files.revision,
            digest=digest,
            tokenizer_digest=files.tokenizer_digest,
            width=backend.width,
            max_tokens=files.max_tokens,
            vocabulary_size=files.vocabulary_size,
            max_batch_tokens=settings.batching.max_tokens or backend.max_batch_tokens,
            pooling=files.pooling,
            dtype=backend.dtype,
            backend=backend.name,
            device=backend.device,
        )
        return cls(backend, model, settings.batching)

    def close(self) -> None:
        """Answer whatever waits with an error and end the thread after the running batch."""
        self.batcher.close()
        self._thread.shutdown(wait=False)

    async def _compute(self, tokens: TokenBatch, terms: Terms) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._backend.encode, tokens
        )

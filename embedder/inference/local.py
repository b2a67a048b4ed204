"""The pipeline's stages in this process; threads do the work that releases the interpreter.

The deployments of the service use the same classes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.backends.protocol import Backend
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.chunking.request import ChunkOptions, SplitTexts
from embedder.chunking.texts import split_texts
from embedder.chunking.units import Offsets
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import blobs_of
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.tracing import step
from embedder.core.types import Encoded, Input, TokenBatch, Tokenized, Truncate
from embedder.core.utf8 import encode
from embedder.inference.late_chunking import windows_of_texts
from embedder.inference.loading import LoadedBackend, load_tokenizer
from embedder.inference.tokenization import FastTokenizer, OffsetToken
from embedder.measurements.batches import BatchHistograms
from embedder.models.files import ModelFiles
from embedder.pipeline.threads import CountedThreads, QueueStats
from embedder.settings.model import BatchSettings, ModelSettings

T = TypeVar("T")

THREADS = 4
"""Threads of a tokenizer; each of them can use every core."""


class LocalTokenizer:
    """Tokenize in threads: the Rust tokenizer releases the interpreter and uses every core."""

    def __init__(self, tokenizer: FastTokenizer, *, threads: int = THREADS) -> None:
        self._tokenizer = tokenizer
        # Its own threads: a model that is loading in the default ones would delay texts.
        self._threads = CountedThreads("tokenizer", threads)

    @classmethod
    def load(cls, settings: ModelSettings) -> LocalTokenizer:
        """Load the tokenizer of the model that the settings name.

        Raises:
            ConfigurationError: the model is missing, unsafe, or has no fast tokenizer.
        """
        return cls(load_tokenizer(ModelFiles.open(settings)))

    def encode(self, inputs: Sequence[Input], *, truncate: Truncate) -> Tokenized:
        """Return the tokens of every input, computed in the caller's thread."""
        return self._tokenizer.encode(inputs, truncate=truncate)

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input."""
        return await self._threads.run(partial(self._tokenizer.encode, inputs, truncate=truncate))

    async def tokenize_with_offsets(
        self, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[OffsetToken]]:
        """Return every token of every text with its offsets."""
        return await self._threads.run(
            partial(
                self._tokenizer.tokenize_with_offsets, texts, add_special_tokens=add_special_tokens
            )
        )

    def split(
        self,
        inputs: Sequence[Input],
        options: ChunkOptions,
        *,
        prompt: str = "",
        most: int | None = None,
    ) -> SplitTexts:
        """Return the chunks of every text behind ``prompt``, computed in the caller's thread.

        Raises:
            InvalidInput: the prompt has a lone surrogate, or as
                `embedder.chunking.texts.split_texts`; or ``options.late``, and the model reads no
                token of a chunk.
        """
        encode("prompt", prompt)
        chunks = split_texts(inputs, _ChunkTokenizer(self._tokenizer, prompt), options, most=most)
        windows = (
            windows_of_texts(self._tokenizer, inputs, chunks, prompt) if options.late else None
        )
        return SplitTexts(chunks, windows)

    async def split_in_thread(
        self, texts: Sequence[Input], options: ChunkOptions, *, prompt: str, most: int
    ) -> SplitTexts:
        """Return what `split` returns; other requests run meanwhile."""
        work = partial(self.split, texts, options, prompt=prompt, most=most)
        return await self._threads.run(work)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Return each token as the vocabulary writes it; "" for an id without a token."""
        return self._tokenizer.token_texts(ids)

    async def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool
    ) -> list[str]:
        """Return the text of every row of ids."""
        return await self._threads.run(
            partial(self._tokenizer.decode, rows, skip_special_tokens=skip_special_tokens)
        )

    @property
    def queue(self) -> QueueStats:
        """Return the statistics of the threads' queue."""
        return self._threads.stats

    def close(self) -> None:
        """Stop the threads after their current tasks."""
        self._threads.close()


@dataclass(frozen=True, slots=True)
class _ChunkTokenizer:
    """Count the tokens of chunks as they are embedded: behind a prompt, with special tokens."""

    tokenizer: FastTokenizer
    prompt: str

    def count(self, text: str) -> int:
        encoded = self.tokenizer.encode([self.prompt + text], truncate=Truncate.NONE)
        return len(encoded.tokens.ids)

    def offsets(self, text: str) -> Offsets:
        (tokens,) = self.tokenizer.tokenize_with_offsets([text], add_special_tokens=False)
        spans = [(token.start, token.stop) for token in tokens if token.start is not None]
        return np.array(spans, np.int64).reshape(-1, 2)


class LocalEncoder(BatchingEncoder):
    """Encode on a device of this process, with as many batches in flight as its backend wants.

    ``histograms`` continues those of an earlier encoder of the same model.

    ``device`` is the computing thread; encoders that share it never compete for the cores. A
    backend with several batches in flight does not compute on the CPU and gets its own threads.
    """

    def __init__(
        self,
        loaded: LoadedBackend,
        settings: BatchSettings,
        device: ThreadPoolExecutor,
        histograms: BatchHistograms | None = None,
    ) -> None:
        self.model = loaded.info
        self.histograms = BatchHistograms() if histograms is None else histograms
        self.tuning = loaded.tuning
        self._own: ThreadPoolExecutor | None = None
        if loaded.backend.max_concurrency > 1:
            self._own = device = ThreadPoolExecutor(
                loaded.backend.max_concurrency, thread_name_prefix="in-flight"
            )
        # A bound method would form a reference cycle and keep an unloaded model in memory.
        self._compute = partial(_compute, device, loaded, self.histograms)
        budget = Budget(
            max_tokens=loaded.info.max_batch_tokens,
            max_items=settings.max_items,
            padded=loaded.backend.padded,
            bulk_delay_s=settings.bulk_delay_s,
        )
        super().__init__(
            self._compute,
            budget=budget,
            slots=loaded.backend.max_concurrency,
        )

    async def compute_largest_batch(self) -> None:
        """Compute one batch that fills the current budget, and discard the result."""
        budget = self.batcher.budget
        length = min(budget.max_tokens, self.model.max_tokens)
        count = min(budget.max_tokens // length, budget.max_items)
        await self._compute(TokenBatch.of([[0] * length] * count))

    def close(self) -> None:
        """Fail the waiting inputs; running batches finish by themselves."""
        self.batcher.close()
        if self._own is not None:
            self._own.shutdown(wait=False)


async def _compute(
    device: ThreadPoolExecutor,
    loaded: LoadedBackend,
    histograms: BatchHistograms,
    tokens: TokenBatch,
    context: BatchContext | None = None,
) -> Encoded:
    loop, backend = asyncio.get_running_loop(), loaded.backend
    with step("batch") as span:
        encoded = await loop.run_in_executor(device, _timed, backend, tokens, time.monotonic())
        histograms.record(tokens.lengths.tolist(), encoded.inference_s, padded=backend.padded)
        if not span.contexts:
            return encoded
        span.set(
            model=loaded.info.name,
            texts=len(tokens),
            tokens=len(tokens.ids),
            wait_for_device_s=encoded.queue_s,
            inference_s=encoded.inference_s,
        )
        return replace(encoded, batches=span.contexts)


def _timed(backend: Backend, tokens: TokenBatch, submitted_s: float) -> Encoded:
    """Compute in the device's thread; the time until it was free counts as waiting."""
    started_s = time.monotonic()
    vectors, *others = _rows(backend, tokens)
    inference_s = time.monotonic() - started_s
    return Encoded(vectors, started_s - submitted_s, inference_s, others=tuple(others))


def _rows(backend: Backend, tokens: TokenBatch) -> list[NDArray[Any]]:
    """Return the rows of each kind that the tokens ask for."""
    kinds = tokens.kinds or backend.outputs[:1]
    if kinds in ((OutputKind.DENSE,), (OutputKind.SCORES,)):
        return [backend.encode(tokens)]
    if kinds == (OutputKind.CHUNKS,):
        kinds = (OutputKind.DENSE,)  # of the spans of the tokens
    found = backend.compute(tokens, kinds)
    return [
        blobs_of(rows) if isinstance(rows, RaggedRows) else rows
        for rows in map(found.__getitem__, kinds)
    ]

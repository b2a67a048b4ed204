"""Computes the vectors of chunks by late chunking, on a backend of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedder.backends.protocol import ReadsSpans
from embedder.chunking.late import spans_of, windows
from embedder.chunking.request import Chunk
from embedder.core.errors import InvalidInput, OutOfMemory
from embedder.core.outputs import OutputKind
from embedder.core.request import EmbedOptions
from embedder.core.types import Input, TokenBatch, Vectors
from embedder.core.vectors import truncate_and_normalize
from embedder.inference.loading import LoadedBackend
from embedder.inference.local import LocalTokenizer
from embedder.inference.tokenization import OffsetToken


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the model reads at once: token ids, and int64[k, 2], the tokens of each chunk."""

    ids: list[int]
    spans: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LateChunking:
    """The stages of this process as late chunking uses them; ``device`` is the computing thread."""

    tokenizer: LocalTokenizer
    loaded: LoadedBackend
    device: ThreadPoolExecutor

    def check(self) -> ReadsSpans:
        """Return the backend, if it can give chunks the mean of their tokens.

        Raises:
            InvalidInput: the model computes no vectors or has another pooling, or its backend does
                not read spans.
        """
        info, backend = self.loaded.info, self.loaded.backend
        if info.outputs[0] is not OutputKind.DENSE:
            problem = f"needs a model of dense vectors; {info.name!r} computes"
            raise InvalidInput("late", f"{problem} {info.outputs[0].value}")
        if info.pooling != "mean":
            problem = f"needs a model with mean pooling; that of {info.name!r} is {info.pooling!r}"
            raise InvalidInput("late", problem)
        if not isinstance(backend, ReadsSpans):
            problem = f"is not computed by the backend {info.backend!r}; set backend.name to"
            raise InvalidInput("late", f"{problem} 'torch'")
        return backend

    async def vectors(
        self,
        texts: Sequence[Input],
        chunks: Sequence[Sequence[Chunk]],
        prompt: str,
        options: EmbedOptions,
    ) -> Vectors:
        """Return float32[n, d], the vectors of the chunks of all texts, in order.

        The tokens of ``prompt`` are read before each window, and are in no mean.

        Raises:
            InvalidInput: as `check`, or a chunk has no tokens.
            OutOfMemory: the device has too little memory for one window.
            BackendFailure: as `ReadsSpans.encode_spans`.
        """
        self.check()
        info = self.loaded.info
        prompted = [prompt + text for text in texts if isinstance(text, str)]
        tokens = await self.tokenizer.tokenize_with_offsets(prompted, add_special_tokens=True)
        readings = [
            reading
            for row, (found, of_text) in enumerate(zip(chunks, tokens, strict=True))
            for reading in _readings(f"input[{row}]", found, of_text, len(prompt), info.max_tokens)
        ]
        rows = [np.empty((0, info.width), np.float32)]
        for batch in _batches(readings, info.max_batch_tokens):
            rows += await self._computed(batch)
        return truncate_and_normalize(
            np.concatenate(rows), dimensions=options.dimensions, normalize=options.normalize
        )

    async def _computed(self, batch: Sequence[_Reading]) -> list[Vectors]:
        """Compute a batch, in halves if the device has too little memory for it."""
        tokens = TokenBatch.of([one.ids for one in batch])
        starts = np.cumsum(tokens.lengths, dtype=np.int64) - tokens.lengths
        spans = [one.spans + start for one, start in zip(batch, starts, strict=True)]
        work = partial(self.check().encode_spans, tokens, np.concatenate(spans))
        try:
            return [await asyncio.get_running_loop().run_in_executor(self.device, work)]
        except OutOfMemory:
            if len(batch) == 1:
                raise
        half = len(batch) // 2
        return [*await self._computed(batch[:half]), *await self._computed(batch[half:])]


def _readings(
    field: str, chunks: Sequence[Chunk], tokens: Sequence[OffsetToken], prompt: int, limit: int
) -> Iterator[_Reading]:
    """Yield the windows of one text behind a prompt of so many characters."""
    ids = [token.id for token in tokens]
    text = [at for at, token in enumerate(tokens) if (token.stop or 0) > prompt]
    begin, end = (text[0], text[-1] + 1) if text else (0, 0)
    places = [(token.start or 0, token.stop or 0) for token in tokens[begin:end]]
    # A token without a place of its own belongs to the chunk of the token before.
    offsets = np.maximum.accumulate(np.array(places, np.int64).reshape(-1, 2), axis=0)
    spans = spans_of(chunks, offsets - prompt, field)
    around = len(ids) - (end - begin)
    for window in windows(spans, end - begin, limit - around):
        read = ids[:begin] + ids[begin + window.start : begin + window.stop] + ids[end:]
        # In its text, a chunk can have a few more tokens than alone, and so more than a window.
        own = (spans[window.first : window.end] - window.start).clip(min=0)
        yield _Reading(read, own + begin)


def _batches(readings: Sequence[_Reading], max_tokens: int) -> Iterator[list[_Reading]]:
    """Yield batches within ``max_tokens``, or of one window."""
    batch: list[_Reading] = []
    tokens = 0
    for reading in readings:
        if batch and tokens + len(reading.ids) > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(reading)
        tokens += len(reading.ids)
    if batch:
        yield batch

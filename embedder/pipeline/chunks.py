"""Encode a large batch in device-sized chunks, so that admission control sees its progress.

All chunks are submitted at once: the encoder batches their rows with those of other requests.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedder.core.deadline import Deadline
from embedder.core.protocols import Encoding
from embedder.core.types import Encoded, Timings, TokenBatch
from embedder.pipeline.admission_control import AdmittedTokens


async def encode_in_chunks(
    encoder: Encoding,
    tokens: TokenBatch,
    work: AdmittedTokens,
    *,
    max_tokens: int,
    deadline: Deadline,
) -> Encoded:
    """Encode at least one input, and subtract each chunk from ``work`` once it is computed.

    The first error of a chunk is raised and cancels the others.
    """
    chunks = split(tokens, max_tokens)
    tasks = [asyncio.ensure_future(_encode(encoder, chunk, work, deadline)) for chunk in chunks]
    try:
        encoded = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return Encoded(
        np.concatenate([chunk.vectors for chunk in encoded]),
        max(chunk.queue_s for chunk in encoded),
        max(chunk.inference_s for chunk in encoded),
        others=tuple(map(np.concatenate, zip(*(chunk.others for chunk in encoded), strict=True))),
    )


def split(tokens: TokenBatch, max_tokens: int) -> list[TokenBatch]:
    """Cut a batch into runs of rows; each has at most ``max_tokens`` after its first row."""
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    if len(ends) == 0 or ends[-1] <= max_tokens:
        return [tokens]
    number: NDArray[np.int64] = (ends - 1) // max_tokens
    cuts = np.flatnonzero(np.diff(number)) + 1
    if tokens.spans is not None:
        items = tokens.items()
        bounds = pairwise([0, *cuts.tolist(), len(items)])
        return [TokenBatch.of(items[first:end], tokens.kinds) for first, end in bounds]
    at, count = ends[cuts - 1], len(cuts) + 1
    ids, lengths = np.split(tokens.ids, at), np.split(tokens.lengths, cuts)
    types = [None] * count if tokens.types is None else np.split(tokens.types, at)
    return list(map(TokenBatch, ids, lengths, types, [tokens.kinds] * count))


async def _encode(
    encoder: Encoding, tokens: TokenBatch, work: AdmittedTokens, deadline: Deadline
) -> Encoded:
    encoded = await encoder.encode(tokens, priority=work.priority, deadline=deadline)
    times = Timings(queue_s=encoded.queue_s, inference_s=encoded.inference_s)
    work.computed(int(tokens.lengths.sum()), times)
    return encoded

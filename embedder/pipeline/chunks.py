"""A large batch encoded in parts of about a device's batch, so that its progress can be told.

All parts are asked for at once: the encoder gathers their rows with whatever else waits. Knows
nothing of what becomes of the vectors.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from embedder.core.protocols import Encoding
from embedder.core.types import Encoded, Timings, TokenBatch
from embedder.pipeline.admission_control import AdmittedTokens


async def encode_in_chunks(
    encoder: Encoding,
    tokens: TokenBatch,
    work: AdmittedTokens,
    *,
    max_tokens: int,
    deadline: float | None,
) -> Encoded:
    """Encode at least one input, and take each part off ``work`` once it has been computed.

    An error of one part is the error of all; the others are cancelled.
    """
    batches = split(tokens, max_tokens)
    if len(batches) == 1:
        return await _encode(encoder, tokens, work, deadline)
    parts = [asyncio.ensure_future(_encode(encoder, part, work, deadline)) for part in batches]
    try:
        encoded = await asyncio.gather(*parts)
    finally:
        for part in parts:
            part.cancel()
    return Encoded(
        np.concatenate([one.vectors for one in encoded]),
        max(one.queue_s for one in encoded),
        max(one.inference_s for one in encoded),
    )


def split(tokens: TokenBatch, max_tokens: int) -> list[TokenBatch]:
    """Cut a batch into runs of rows, each of at most ``max_tokens`` beside its first row."""
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    if len(ends) == 0 or ends[-1] <= max_tokens:
        return [tokens]
    number: NDArray[np.int64] = (ends - 1) // max_tokens
    cuts = np.flatnonzero(np.diff(number)) + 1
    ids = np.split(tokens.ids, ends[cuts - 1])
    return [TokenBatch(*part) for part in zip(ids, np.split(tokens.lengths, cuts), strict=True)]


async def _encode(
    encoder: Encoding, tokens: TokenBatch, work: AdmittedTokens, deadline: float | None
) -> Encoded:
    encoded = await encoder.encode(tokens, priority=work.priority, deadline=deadline)
    times = Timings(queue_s=encoded.queue_s, inference_s=encoded.inference_s)
    work.computed(int(tokens.lengths.sum()), times)
    return encoded

"""Whether a narrower number format computes the same model: in hardware, and near enough.

Tokens are drawn with a fixed seed: no text is needed, and every load decides alike. Knows nothing
of how a model is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from embedder.core.types import TokenBatch, Vectors

MIN_COSINE = 0.999
"""``dtype: auto`` leaves float32 only where every probe vector agrees at least this well."""

LENGTHS = (4, 9, 17, 33, 65, 120)

LONG_LENGTHS = (*LENGTHS, 257, 512)
"""Kernels that take a whole batch go through long inputs in tiles of 128 tokens or so."""


def reference_batch(
    vocabulary_size: int, max_tokens: int, sizes: Sequence[int] = LENGTHS
) -> TokenBatch:
    """Return inputs of many lengths, of any ids that the model knows."""
    random = np.random.default_rng(0)
    sizes = [min(size, max_tokens) for size in sizes]
    rows = [random.integers(0, vocabulary_size, size=size) for size in sizes]
    return TokenBatch.of([row.astype(np.int32) for row in rows])


def min_cosine(exact: Vectors, fast: Vectors) -> float:
    """Return the least cosine of a row of one array with the same row of the other, or NaN."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(fast, axis=1)
    return float(((exact * fast).sum(axis=1) / norms).min())


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 runs in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def reduced_precision(device: torch.device) -> str | None:
    """Return the number format narrower than float32 that is fast here, if any is."""
    if has_fast_bfloat16(device):
        return "bfloat16"
    # Every GPU that torch supports has float16, whose numbers end at 65,504: a probe tells.
    return "float16" if device.type == "cuda" else None

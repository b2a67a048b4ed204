"""Whether a narrower number format computes the same model: in hardware, and near enough.

Tokens are drawn with a fixed seed: no text is needed, and every load decides alike. Knows nothing
of how a model is computed.
"""

from __future__ import annotations

import numpy as np
import torch

from embedder.types import TokenBatch, Vectors

PROBE_COSINE = 0.999
"""``dtype: auto`` leaves float32 only where every probe vector agrees at least this well."""

_SIZES = (4, 9, 17, 33, 65, 120)


def probe_tokens(vocabulary_size: int, max_tokens: int) -> TokenBatch:
    """Return inputs of many lengths, of any ids that the model knows."""
    random = np.random.default_rng(0)
    sizes = [min(size, max_tokens) for size in _SIZES]
    rows = [random.integers(0, vocabulary_size, size=size) for size in sizes]
    return TokenBatch.of([row.astype(np.int32) for row in rows])


def agreement(exact: Vectors, fast: Vectors) -> float:
    """Return the least cosine of a row of one array with the same row of the other, or NaN."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(fast, axis=1)
    return float(((exact * fast).sum(axis=1) / norms).min())


def computes_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 runs in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False

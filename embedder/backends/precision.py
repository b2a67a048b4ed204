"""The device of a model, and whether a narrower number format than float32 is fast and accurate.

The vectors are compared on a reference batch of random tokens with a fixed seed, so every load of a
model makes the same choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from embedder.core.errors import ConfigurationError
from embedder.core.types import TokenBatch, Vectors

MIN_COSINE = 0.999
"""``dtype: auto`` uses a narrower format only if every vector agrees with float32 this well."""

LENGTHS = (4, 9, 17, 33, 65, 120)

LONG_LENGTHS = (*LENGTHS, 257, 512)
"""For attention kernels that process long inputs in tiles of about 128 tokens."""


def reference_batch(
    vocabulary_size: int, max_tokens: int, lengths: Sequence[int] = LENGTHS
) -> TokenBatch:
    """Return random inputs of the given lengths, limited to ``max_tokens``."""
    random = np.random.default_rng(0)
    lengths = [min(length, max_tokens) for length in lengths]
    rows = [random.integers(0, vocabulary_size, size=length) for length in lengths]
    return TokenBatch.of([row.astype(np.int32) for row in rows])


def min_cosine(exact: Vectors, approximate: Vectors) -> float:
    """Return the smallest cosine between corresponding rows; NaN if a value is not finite."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(approximate, axis=1)
    return float(((exact * approximate).sum(axis=1) / norms).min())


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the hardware computes bfloat16: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def reduced_precision(device: torch.device) -> str | None:
    """Return the number format that is narrower than float32 and fast here, if one is."""
    if has_fast_bfloat16(device):
        return "bfloat16"
    # Every GPU that torch supports has float16. Its largest number is 65,504, so compare vectors.
    return "float16" if device.type == "cuda" else None


def existing_device(name: str) -> torch.device:
    """Return the device for ``backend.device``.

    Raises:
        ConfigurationError: torch does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= seen:
            raise ConfigurationError(f"backend.device is {name!r}; torch sees {seen} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigurationError("backend.device is 'mps', but torch sees no Metal device")
    return torch.device(name)

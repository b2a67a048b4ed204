"""The device of a model, and whether a narrower number format than float32 is fast and accurate.

The results are compared on a reference batch of random tokens with a fixed seed, so every load of a
model makes the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from embedder.core.errors import ConfigurationError
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch, Vectors

MIN_COSINE = 0.999
"""``dtype: auto`` uses a narrower format only if every vector agrees with float32 this well."""

MAX_DEVIATION = 0.05
"""The largest difference of a score to float32, as a part of the range of the scores."""

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


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether results are close to those in float32, how close in words, and the number in them."""

    close: bool
    text: str
    value: float

    @classmethod
    def of(cls, exact: Mapping[OutputKind, Rows], found: Mapping[OutputKind, Rows]) -> Agreement:
        """Compare results of each kind; the first kind that is not close, if any, is described.

        Vectors and weights are compared by the cosine of each input's, token vectors end to end.
        Of scores, whose number may be one, the largest difference counts.
        """
        compared = [cls._of_kind(kind, exact[kind], found[kind]) for kind in exact]
        return next((each for each in compared if not each.close), compared[0])

    @classmethod
    def _of_kind(cls, kind: OutputKind, exact: Rows, found: Rows) -> Agreement:
        if kind is OutputKind.SCORES and not isinstance(exact, RaggedRows):
            deviation = max_deviation(exact, np.asarray(found))
            text = f"its scores differ from float32 by up to {deviation:.2%} of their range"
            return cls(deviation <= MAX_DEVIATION, text, deviation)
        if isinstance(exact, RaggedRows) and isinstance(found, RaggedRows):
            pairs = zip(exact.split(), found.split(), strict=True)
            # Not min(), which may lose a NaN.
            cosine = float(np.min([_ragged_cosine(*pair) for pair in pairs]))
        else:
            cosine = min_cosine(np.asarray(exact), np.asarray(found))
        named = {OutputKind.SPARSE: " of its weights", OutputKind.TOKENS: " of its token vectors"}
        text = f"the cosine{named.get(kind, '')} to float32 is {cosine:.5f}"
        return cls(cosine >= MIN_COSINE, text, cosine)


def max_deviation(exact: Vectors, found: Vectors) -> float:
    """Return the largest difference of two scores, as a part of the range of its label's scores."""
    ranges = np.maximum(np.ptp(exact, axis=0), np.finfo(np.float32).tiny)
    return float((np.abs(exact - found) / ranges).max())


def _ragged_cosine(exact: RaggedRows, found: RaggedRows) -> float:
    """Return the cosine of two rows; ids that one of them lacks have the weight 0 there."""
    first, second = exact.values.ravel(), found.values.ravel()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if exact.ids is not None and found.ids is not None:
        _, rows, others = np.intersect1d(exact.ids, found.ids, True, True)
        first, second = first[rows], second[others]
    if not norms:
        return float(not exact.values.any() and not found.values.any())
    return float(first @ second) / norms


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

"""Estimate the memory of a process with a model before the model is loaded.

The estimate is computed from the model's size and the settings. The constants were measured: the
peak resident size of new processes with models of 23 and 110 million parameters, minus the parts
that can be computed, with Python 3.11, torch 2.13 for CPUs, transformers 5.23 and onnxruntime 1.32
on Linux x86-64 with glibc's allocator and two threads. `benchmarks.memory` compares estimates with
such processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.models.model_size import ModelShape, ModelSize
from embedder.settings.model import BackendSettings

MIB = 2**20

Runtime = Literal["packed", "padded", "onnx"]
"""The packed forward pass, the padded one of transformers, or ONNX Runtime."""

BASE_BYTES: Mapping[Runtime, int] = {"packed": 250 * MIB, "padded": 405 * MIB, "onnx": 265 * MIB}
"""Bytes of the interpreter with its libraries and threads, after a first batch."""

HEAP_SHARE = 1.15
"""Heap bytes for each byte of copied weights: small copies leave gaps."""

BATCH_GROWTH: Mapping[Runtime, float] = {"packed": 2.0, "padded": 2.0, "onnx": 2.8}
"""Bytes that a process grows by for each byte that a batch needs at once. Freed blocks of less than
32 MiB stay with the allocator, and the blocks of the next layer do not fit into them exactly."""

BATCH_BYTES = 20 * MIB
"""Bytes that the first batch takes at any size: buffers of the libraries' threads."""

TOKENIZER_SHARE: Mapping[str, int] = {"Unigram": 75, "WordPiece": 40, "BPE": 16}
"""Bytes that a tokenizer takes for each byte of its file, by algorithm."""

EXPORT_BYTES = 270 * MIB
"""Bytes of an export to ONNX beside a copy of the weights; only the first load exports."""

BOUNDS = {"cpu": (512, 8192), "cuda": (8192, 262_144), "mps": (2048, 32_768)}
"""Smallest and largest batch budget that is tried, in tokens, by the kind of device."""

UNMEASURED_TOKENS = {"cpu": 2048, "cuda": 32_768, "mps": 32_768}
"""The batch budget in tokens if the settings give none and nothing is measured."""

_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 4}
"""Bytes of one component of the activations, which stay float32 for int8 weights."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory of a process in bytes; with a GPU, weights and batch are in its memory.

    ``loading`` is the maximum while the weights are loaded: the mapped files and every copy.
    ``weights`` and ``batch`` are needed to compute the largest batch afterwards. ``cache`` is the
    limit of the cache.
    """

    base: int
    tokenizer: int
    weights: int
    loading: int
    batch: int
    cache: int

    @property
    def working(self) -> int:
        """Return the maximum of loading and computing the model."""
        return max(self.loading, self.weights + self.batch)

    @property
    def peak(self) -> int:
        """Return the maximum of the whole process."""
        return self.base + self.tokenizer + self.working + self.cache


@dataclass(frozen=True, slots=True)
class NumberFormats:
    """The number formats that weights have while they are loaded, and the final one."""

    loaded: tuple[str, ...]
    computed: str

    @classmethod
    def of(cls, dtype: str, runtime: Runtime, *, bfloat16: bool | None) -> NumberFormats:
        """Return the formats for a ``dtype`` of the settings.

        ``auto`` depends on ``bfloat16``: whether the hardware computes it. If that is None
        (unknown), the result takes the most memory.
        """
        if dtype != "auto":
            return cls((dtype,), dtype)
        if runtime == "onnx" or bfloat16 is False:
            return cls(("float32",), "float32")
        return cls(("float32", "bfloat16"), "bfloat16" if bfloat16 else "float32")


def estimate(
    size: ModelSize, runtime: Runtime, formats: NumberFormats, *, tokens: int, cache: int
) -> MemoryEstimate:
    """Estimate the memory of a process for a model's size and batches of ``tokens`` tokens."""
    return MemoryEstimate(
        base=BASE_BYTES[runtime],
        tokenizer=size.tokenizer_bytes * TOKENIZER_SHARE[size.tokenizer_kind],
        weights=weights_bytes(size, runtime, formats.computed),
        loading=_loading_bytes(size, runtime, formats.loaded),
        batch=batch_bytes(size.shape, formats.computed, tokens, BATCH_GROWTH[runtime]),
        cache=cache,
    )


def expected_runtime(config: Mapping[str, Any], settings: BackendSettings) -> Runtime:
    """Return the runtime that will be tried first for a model."""
    if settings.name == "onnx" or settings.dtype == "int8":
        return "onnx"
    return "packed" if packed_unsupported_reason(config) is None else "padded"


def weights_bytes(size: ModelSize, runtime: Runtime, dtype: str) -> int:
    """Return the bytes of a model's loaded weights."""
    if dtype == "int8":
        # Each matrix is kept in its stored and in its packed form; tables stay float32.
        tables = size.parameters - size.matrix_parameters
        return 4 * (tables + size.head_parameters) + 2 * size.matrix_parameters
    share = HEAP_SHARE if runtime == "packed" else 1.0
    parameters = size.parameters * _ELEMENT_BYTES[dtype]
    return int(share * parameters) + 4 * size.head_parameters


def _loading_bytes(size: ModelSize, runtime: Runtime, formats: tuple[str, ...]) -> int:
    copies = sum(weights_bytes(size, runtime, dtype) for dtype in formats)
    if runtime == "onnx":
        return copies + EXPORT_BYTES + 4 * size.parameters
    # transformers uses the mapped file directly if it has the final number format.
    mapped = runtime == "packed" or formats != ("float32",)
    return copies + (size.file_bytes if mapped else 0)


def batch_bytes(
    shape: ModelShape, dtype: str, tokens: int, growth: float = BATCH_GROWTH["packed"]
) -> int:
    """Return the bytes that a process grows by for a batch of ``tokens`` tokens."""
    # Rows, three projections, the same by input, the output of attention, and that by row.
    attention = 10 * shape.width
    feed_forward = shape.width + 2 * shape.inner
    element = _ELEMENT_BYTES[dtype]
    rows = int(growth * tokens * max(attention, feed_forward) * element)
    biases = tokens * min(tokens, shape.positions) * shape.heads * element if shape.biased else 0
    return BATCH_BYTES + rows + biases

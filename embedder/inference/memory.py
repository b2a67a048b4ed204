"""How much memory a process with a model takes, known before it is loaded.

Arithmetic on a model's size and the settings. The constants are measured: peak resident sizes of
fresh processes with models of 23 and 110 million parameters, less what can be counted; Python 3.11,
torch 2.13 for CPUs, transformers 5.23 and onnxruntime 1.32 on Linux x86-64 with glibc's allocator
and two threads. `benchmarks.memory` compares estimates with such processes. Knows nothing of how a
model is computed beyond what lies in memory at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelShape, ModelSize
from embedder.settings.model import BackendSettings, EmbedderSettings

MIB = 2**20

Runtime = Literal["packed", "padded", "onnx"]
"""What computes: torch here, torch as transformers uses it, or ONNX Runtime."""

BASE_BYTES: Mapping[Runtime, int] = {"packed": 250 * MIB, "padded": 405 * MIB, "onnx": 265 * MIB}
"""The interpreter with its libraries and threads, after a first batch."""

HEAP_SHARE = 1.15
"""What weights that are copied take of the heap, by their bytes: small copies leave gaps."""

SPREAD: Mapping[Runtime, float] = {"packed": 2.0, "padded": 2.0, "onnx": 2.8}
"""By how much a process grows for each byte that a batch needs at once: freed blocks of less than
32 MiB stay with the allocator, and those of the next layer do not quite fit into them."""

BATCH_BYTES = 20 * MIB
"""What the first batch takes whatever its size: buffers of the libraries' threads."""

TOKENIZER_SHARE: Mapping[str, int] = {"Unigram": 75, "WordPiece": 40, "BPE": 16}
"""What a tokenizer takes for each byte of its file."""

EXPORT_BYTES = 270 * MIB
"""What exporting a model to ONNX takes beside a copy of its weights; only its first load does."""

BOUNDS = {"cpu": (512, 8192), "cuda": (8192, 262_144), "mps": (2048, 32_768)}
"""Within which the budget of a batch is looked for, in tokens, by the kind of device."""

UNMEASURED_TOKENS = {"cpu": 2048, "cuda": 32_768, "mps": 32_768}
"""The budget of a batch where nobody names one and nothing is measured."""

_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 4}
"""Bytes of a component of the activations; what multiplies int8 keeps these in float32."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a process takes, in bytes; on a GPU, weights and batch lie there.

    ``loading`` is what lies in memory at once while the weights are loaded: the files that are
    mapped, and every copy. ``weights`` and ``batch`` are what it takes to compute the largest
    batch afterwards, and ``cache`` what the cache may grow to.
    """

    base: int
    tokenizer: int
    weights: int
    loading: int
    batch: int
    cache: int

    @property
    def working(self) -> int:
        """Return the most that loading and computing the model ever take."""
        return max(self.loading, self.weights + self.batch)

    @property
    def peak(self) -> int:
        """Return the most that the process ever takes."""
        return self.base + self.tokenizer + self.working + self.cache


@dataclass(frozen=True, slots=True)
class NumberFormats:
    """The number formats that weights are held in at once while loading, and the one that stays."""

    loaded: tuple[str, ...]
    computed: str

    @classmethod
    def of(cls, dtype: str, runtime: Runtime, *, bfloat16: bool | None) -> NumberFormats:
        """Return what a ``dtype`` of the settings leads to.

        ``bfloat16`` says whether the hardware computes it, which decides what ``auto`` does; where
        that is not known, the most is taken.
        """
        if dtype != "auto":
            return cls((dtype,), dtype)
        if runtime == "onnx" or bfloat16 is False:
            return cls(("float32",), "float32")
        return cls(("float32", "bfloat16"), "bfloat16" if bfloat16 else "float32")


def estimate(
    files: ModelFiles, settings: EmbedderSettings, *, bfloat16: bool | None = None
) -> MemoryEstimate:
    """Estimate the memory of a process with one model, from its files' headers.

    ``bfloat16`` is as in `NumberFormats.of`. Unknown values are taken at their maximum: a budget
    that is still to be measured may become the largest one that is tried, and an input longer
    than the budget runs alone.

    Raises:
        UnsupportedModel: the configuration lacks a number, or the weights are damaged.
    """
    budget = settings.batching.max_tokens
    if budget is None:
        budget = BOUNDS["cpu"][1] if settings.batching.tune_s else UNMEASURED_TOKENS["cpu"]
    runtime = expected_runtime(files.config, settings.backend)
    return estimate_size(
        ModelSize.of(files),
        runtime,
        NumberFormats.of(settings.backend.dtype, runtime, bfloat16=bfloat16),
        tokens=max(budget, files.max_tokens),
        cache=settings.cache.max_bytes,
    )


def estimate_size(
    size: ModelSize, runtime: Runtime, formats: NumberFormats, *, tokens: int, cache: int
) -> MemoryEstimate:
    """Estimate the memory of a process with a model of a size, and batches of ``tokens`` tokens."""
    return MemoryEstimate(
        base=BASE_BYTES[runtime],
        tokenizer=size.tokenizer_bytes * TOKENIZER_SHARE[size.tokenizer_kind],
        weights=weights_bytes(size, runtime, formats.computed),
        loading=_loading_bytes(size, runtime, formats.loaded),
        batch=_batch_bytes(size.shape, formats.computed, tokens, SPREAD[runtime]),
        cache=cache,
    )


def expected_runtime(config: Mapping[str, Any], settings: BackendSettings) -> Runtime:
    """Return what will compute a model, unless it turns out not to be able to."""
    if settings.name == "onnx" or settings.dtype == "int8":
        return "onnx"
    return "packed" if packed_unsupported_reason(config) is None else "padded"


def weights_bytes(size: ModelSize, runtime: Runtime, dtype: str) -> int:
    """Return what a model's weights take once they are loaded."""
    if dtype == "int8":
        # Each matrix is kept as it was stored and as it is multiplied; tables stay float32.
        tables = size.parameters - size.matrix_parameters
        return 4 * (tables + size.head_parameters) + 2 * size.matrix_parameters
    share = HEAP_SHARE if runtime == "packed" else 1.0
    parameters = size.parameters * _ELEMENT_BYTES[dtype]
    return int(share * parameters) + 4 * size.head_parameters


def batch_bytes(config: Mapping[str, Any], dtype: str, tokens: int) -> int:
    """Return what a process grows by for the largest batch that torch computes.

    Raises:
        UnsupportedModel: the configuration lacks a number.
    """
    return _batch_bytes(ModelShape.of(config), dtype, tokens, SPREAD["packed"])


def _loading_bytes(size: ModelSize, runtime: Runtime, formats: tuple[str, ...]) -> int:
    copies = sum(weights_bytes(size, runtime, dtype) for dtype in formats)
    if runtime == "onnx":
        return copies + EXPORT_BYTES + 4 * size.parameters
    # transformers computes with the mapped file itself where that has the number format already.
    mapped = runtime == "packed" or formats != ("float32",)
    return copies + (size.file_bytes if mapped else 0)


def _batch_bytes(shape: ModelShape, dtype: str, tokens: int, spread: float) -> int:
    # Rows, the three projections, these again by input, what attention mixes, and that by row.
    attention = 10 * shape.width
    perceptron = shape.width + 2 * shape.inner
    element = _ELEMENT_BYTES[dtype]
    rows = int(spread * tokens * max(attention, perceptron) * element)
    biases = tokens * min(tokens, shape.positions) * shape.heads * element if shape.biased else 0
    return BATCH_BYTES + rows + biases

"""The torch backend: on a CPU or a GPU, in float32, bfloat16 or float16.

Chooses device, number format and forward pass, and pools. Knows nothing of texts, queues or caches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from embedder.backends.derived_files import cache_folder
from embedder.backends.error_translation import translate_errors
from embedder.backends.head import Head
from embedder.backends.precision import (
    LENGTHS,
    LONG_LENGTHS,
    MIN_COSINE,
    min_cosine,
    reduced_precision,
    reference_batch,
)
from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.backends.torch.copies import CopyStream, to_device
from embedder.backends.torch.kernel_selection import select_kernels
from embedder.backends.torch.kernels import PLAIN
from embedder.backends.torch.launcher import CONCURRENT_BATCHES, Launcher
from embedder.backends.torch.microbatches import encode_in_microbatches
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.types import TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Forward(Protocol):
    """A transformer in one number format on one device: packed tokens in, hidden states out.

    ``width`` is that of a hidden state, ``memory_bytes`` what the weights take.
    """

    device: torch.device
    width: int
    memory_bytes: int

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the last hidden state, one row a token: ``[total, width]``."""


class TorchBackend:
    """A model on one torch device."""

    name = "torch"
    # What is padded at all is padded by so little that packing need not pay for it.
    padded = False
    max_concurrency = 1

    def __init__(
        self,
        forward: Forward,
        head: Head,
        *,
        dtype: str,
        threads: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """``threads`` is how many compute pieces of a batch; None gives a batch to torch whole."""
        self.device = str(forward.device)
        self.dtype = dtype
        self.width = head.width
        self.max_batch_tokens = 2048 if forward.device.type == "cpu" else 32_768
        self.memory_bytes = forward.memory_bytes + head.memory_bytes
        self.notes = notes
        self._forward = forward
        self._threads = threads
        # Functions, not methods of this object: it would be a cycle, which keeps an unloaded
        # model in memory.
        compute = partial(_pooled, forward, head)
        self._vectors: Callable[[TokenBatch], Vectors] = partial(_at_once, compute)
        if forward.device.type == "cuda":
            self.max_concurrency = CONCURRENT_BATCHES
            self._vectors = Launcher(compute, CopyStream(forward.device)).encode

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> TorchBackend:
        """Load a model's weights.

        Raises:
            ConfigurationError: the device is not there, or the number format does not suit.
            UnsupportedModel: neither a forward pass here nor transformers has the architecture,
                or its vectors are not finite.
        """
        if settings.dtype == "int8":
            raise ConfigurationError(
                "backend.dtype is 'int8', which torch does not compute here; "
                "set backend.name to 'onnx'"
            )
        device = _device(settings.device)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        shared_in = cache_folder(settings.cache_dir, "weights") if settings.shared_weights else None
        if settings.dtype == "auto":
            return _loaded_by_probe(files, device, shared_in)
        backend = _loaded(files, settings.dtype, device, shared_in)
        if backend.has_fast_kernels:
            _settle(backend, files, _probed(_loaded(files, "float32", device), files))
            torch.cuda.empty_cache()  # the other copy's memory
        _check_finite(_probed(backend, files), settings.dtype)
        return backend

    @property
    def has_fast_kernels(self) -> bool:
        """Tell whether it computes by kernels that only agree with the plain ones."""
        return isinstance(self._forward, PackedForward) and self._forward.kernels != PLAIN

    def use_plain_kernels(self) -> None:
        """Compute by the kernels that every device has from now on."""
        if isinstance(self._forward, PackedForward):
            self._forward.use_plain_kernels()

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit; a smaller one may.
            BackendFailure: torch failed in another way.
        """
        if not len(tokens):
            return np.empty((0, self.width), np.float32)
        with translate_errors():
            if self._threads is None:
                return self._encode_whole(tokens)
            return encode_in_microbatches(self._encode_whole, tokens, self._threads)

    @torch.inference_mode()
    def _encode_whole(self, tokens: TokenBatch) -> Vectors:
        return self._vectors(tokens)


def _pooled(forward: Forward, head: Head, tokens: TokenBatch) -> torch.Tensor:
    """Return float32[n, width] on the forward's device, which may still compute it."""
    lengths = to_device(tokens.lengths.astype(np.int64), forward.device)
    return head(forward(tokens), lengths)


def _at_once(compute: Callable[[TokenBatch], torch.Tensor], tokens: TokenBatch) -> Vectors:
    vectors: Vectors = compute(tokens).to("cpu", torch.float32).numpy()
    return vectors


def _loaded(
    files: ModelFiles, dtype: str, device: torch.device, shared_in: Path | None = None
) -> TorchBackend:
    why_not = packed_unsupported_reason(files.config)
    forward: Forward
    threads = None
    if why_not is None:
        # What transformers computes may hold state that threads cannot share.
        threads = torch.get_num_threads() if device.type == "cpu" else None
        kind = _DTYPES[dtype]
        forward = PackedForward.load(files, dtype=kind, device=device, shared_in=shared_in)
    else:
        # transformers takes seconds to import, which the models above do not need.
        from embedder.backends.torch.padded import PaddedForward

        forward = PaddedForward.load(files, dtype=_DTYPES[dtype], device=device)
    head = Head(files.layout, hidden_width=forward.width, device=device)
    notes = (f"{why_not}: transformers computes it in padded blocks",) if why_not else ()
    return TorchBackend(forward, head, dtype=dtype, threads=threads, notes=notes)


def _loaded_by_probe(
    files: ModelFiles, device: torch.device, shared_in: Path | None
) -> TorchBackend:
    """Load the narrow number format of the hardware if a probe agrees, else float32."""
    narrow = reduced_precision(device)
    # Beside a narrow format it is probably there only to be compared with.
    exact = _loaded(files, "float32", device, None if narrow else shared_in)
    expected = _probed(exact, files)
    _check_finite(expected, "float32")
    if narrow is None:
        exact.notes += (f"float32: {device.type} here has no bfloat16 in hardware",)
        return exact
    fast = _loaded(files, narrow, device, shared_in)
    cosine = _settle(fast, files, expected)
    if cosine >= MIN_COSINE:
        fast.notes += (f"{narrow}: a probe agrees with float32 to {cosine:.5f}",)
        chosen = fast
    else:
        exact.notes += (f"float32: with {narrow} a probe agrees to {cosine:.5f} only",)
        chosen = exact
    del exact, fast
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the other copy's memory, for whoever asks how much is left
    return chosen


def _settle(backend: TorchBackend, files: ModelFiles, expected: Vectors) -> float:
    """Leave the fast kernels where they do not compute the model; tell how far a probe agrees."""
    probed = partial(_probed, backend, files)
    if not backend.has_fast_kernels:
        return min_cosine(expected, probed())
    settled = select_kernels(probed, expected, backend.use_plain_kernels, least=MIN_COSINE)
    if settled.error is not None:
        # Not in the notes, which are shown to clients.
        logger.warning("%s: the fast kernels fail: %s", files.name, settled.error.reason)
    if settled.why_plain is not None:
        backend.notes += (f"plain kernels: with the fast ones, {settled.why_plain}",)
    return settled.cosine


def _probed(backend: TorchBackend, files: ModelFiles) -> Vectors:
    sizes = LONG_LENGTHS if backend.device.startswith("cuda") else LENGTHS
    return backend.encode(reference_batch(files.vocabulary_size, files.max_tokens, sizes))


def _check_finite(vectors: Vectors, dtype: str) -> None:
    if np.isfinite(vectors).all():
        return
    if dtype == "float32":
        raise UnsupportedModel("the model computes vectors that are not finite")
    raise ConfigurationError(
        f"backend.dtype is {dtype!r}, in which this model computes vectors that are not finite"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= seen:
            raise ConfigurationError(f"backend.device is {name!r}; torch sees {seen} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigurationError("backend.device is 'mps', but torch sees no Metal device")
    return torch.device(name)

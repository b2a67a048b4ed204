"""The torch backend: chooses device, number format, forward pass, kernels and head."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from embedder.backends.derived_files import cache_folder
from embedder.backends.error_translation import translate_errors
from embedder.backends.head import Head
from embedder.backends.precision import (
    LENGTHS,
    LONG_LENGTHS,
    MIN_COSINE,
    existing_device,
    min_cosine,
    reduced_precision,
    reference_batch,
)
from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.backends.torch.classifier import ClassifierHead
from embedder.backends.torch.kernels import PLAIN, select_kernels
from embedder.backends.torch.launcher import CONCURRENT_BATCHES, CopyStream, Launcher, to_device
from embedder.backends.torch.microbatches import encode_in_microbatches
from embedder.backends.torch.packed import PackedForward
from embedder.backends.torch.spans import SpanPooling
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.models.layout import MODULES
from embedder.settings.model import BackendSettings

if TYPE_CHECKING:
    from embedder.backends.pretrained import PaddedForward

    Forward = PackedForward | PaddedForward
    AnyHead = Head | ClassifierHead

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchBackend(SpanPooling):
    """A model on one torch device."""

    name = "torch"
    # Blocks have so little padding that batches need not be formed by length.
    padded = False
    max_concurrency = 1

    def __init__(
        self,
        forward: Forward,
        head: AnyHead,
        *,
        dtype: str,
        threads: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """With ``threads``, that many threads compute micro-batches of each batch."""
        self.device = str(forward.device)
        self.dtype = dtype
        self.width = head.width
        self.outputs: tuple[OutputKind, ...] = (head.kind,)
        self.token_width = 0
        self.max_batch_tokens = 2048 if forward.device.type == "cpu" else 32_768
        self.memory_bytes = forward.memory_bytes + head.memory_bytes
        self.notes = notes
        self._forward, self._head = forward, head
        self._threads = threads
        # Functions instead of methods: a reference cycle would keep an unloaded model in memory.
        compute = partial(_compute, forward, head)
        self._encode: Callable[[TokenBatch], Vectors] = partial(_synchronous, compute)
        if forward.device.type == "cuda":
            self.max_concurrency = CONCURRENT_BATCHES
            self._encode = Launcher(compute, CopyStream(forward.device)).encode

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> TorchBackend:
        """Load a model's weights.

        Raises:
            ConfigurationError: the device is missing, or the number format does not suit it.
            UnsupportedModel: no forward pass supports the architecture, or its vectors are not
                finite.
        """
        if settings.dtype == "int8":
            raise ConfigurationError(
                "backend.dtype is 'int8', which the torch backend does not "
                "support; set backend.name to 'onnx'"
            )
        device = existing_device(settings.device)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        shared_in = cache_folder(settings.cache_dir, "weights") if settings.shared_weights else None
        if settings.dtype == "auto":
            return _load_in_auto_precision(files, device, shared_in)
        backend = _load(files, settings.dtype, device, shared_in)
        if backend.has_fast_kernels:
            _select_kernels(
                backend, files, _encode_reference(_load(files, "float32", device), files)
            )
            torch.cuda.empty_cache()  # returns the memory of the float32 copy
        _check_finite(_encode_reference(backend, files), settings.dtype)
        return backend

    @property
    def has_fast_kernels(self) -> bool:
        """Tell whether it uses kernels whose results differ slightly from the plain ones."""
        return isinstance(self._forward, PackedForward) and self._forward.kernels != PLAIN

    def use_plain_kernels(self) -> None:
        """Switch to the kernels that every device has."""
        if isinstance(self._forward, PackedForward):
            self._forward.use_plain_kernels()

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit into memory; a smaller one may.
            BackendFailure: torch failed for another reason.
        """
        if not len(tokens):
            return np.empty((0, self.width), np.float32)
        with translate_errors():
            if self._threads is None:
                return self._encode_whole(tokens)
            return encode_in_microbatches(self._encode_whole, tokens, self._threads)

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        """Return the results of each of ``kinds``, which are among ``outputs``."""
        return {kind: self.encode(tokens) for kind in kinds}

    @torch.inference_mode()
    def _encode_whole(self, tokens: TokenBatch) -> Vectors:
        return self._encode(tokens)


def _compute(forward: Forward, head: AnyHead, tokens: TokenBatch) -> torch.Tensor:
    """Return float32[n, width] on the device, which may still be computing it."""
    lengths = to_device(tokens.lengths.astype(np.int64), forward.device)
    return head(forward(tokens), lengths)


def _synchronous(compute: Callable[[TokenBatch], torch.Tensor], tokens: TokenBatch) -> Vectors:
    vectors: Vectors = compute(tokens).to("cpu", torch.float32).numpy()
    return vectors


def _load(
    files: ModelFiles, dtype: str, device: torch.device, shared_in: Path | None = None
) -> TorchBackend:
    reason = packed_unsupported_reason(files.config)
    scores = files.layout.classifier is not None
    if scores and reason is not None:
        raise UnsupportedModel(
            f"{reason}; only the packed forward pass computes scores. For vectors of a model "
            f"without {MODULES}, set model.pooling"
        )
    forward: Forward
    threads = None
    if reason is None:
        # Models of transformers may hold state that threads cannot share.
        threads = torch.get_num_threads() if device.type == "cpu" else None
        kind = _DTYPES[dtype]
        forward = PackedForward.load(files, dtype=kind, device=device, shared_in=shared_in)
    else:
        # Imported here: transformers takes seconds to import.
        from embedder.backends.pretrained import PaddedForward

        forward = PaddedForward.load(files, dtype=_DTYPES[dtype], device=device)
    head: AnyHead
    if scores:
        head = ClassifierHead.load(files, device=device)
    else:
        head = Head(files.layout, hidden_width=forward.width, device=device)
    notes = (f"{reason}: transformers computes it in padded blocks",) if reason else ()
    return TorchBackend(forward, head, dtype=dtype, threads=threads, notes=notes)


def _load_in_auto_precision(
    files: ModelFiles, device: torch.device, shared_in: Path | None
) -> TorchBackend:
    """Load the model in reduced precision if its vectors agree with float32, else in float32."""
    narrow = reduced_precision(device)
    # With a narrow format, the float32 copy is probably used only for the comparison.
    exact = _load(files, "float32", device, None if narrow else shared_in)
    expected = _encode_reference(exact, files)
    _check_finite(expected, "float32")
    if narrow is None:
        exact.notes += (f"float32: this {device.type} has no bfloat16 in hardware",)
        return exact
    fast = _load(files, narrow, device, shared_in)
    cosine = _select_kernels(fast, files, expected)
    if cosine >= MIN_COSINE:
        fast.notes += (f"{narrow}: its cosine to float32 is {cosine:.5f}",)
        chosen = fast
    else:
        exact.notes += (f"float32: the cosine of {narrow} to it is only {cosine:.5f}",)
        chosen = exact
    del exact, fast
    if device.type == "cuda":
        torch.cuda.empty_cache()  # returns the memory of the other copy to the device
    return chosen


def _select_kernels(backend: TorchBackend, files: ModelFiles, expected: Vectors) -> float:
    """Select the kernels of a loaded model; return its least cosine to ``expected``."""
    encode = partial(_encode_reference, backend, files)
    if not backend.has_fast_kernels:
        return min_cosine(expected, encode())
    selection = select_kernels(encode, expected, backend.use_plain_kernels, least=MIN_COSINE)
    if selection.error is not None:
        # Only in the log: clients can read the notes.
        logger.warning("%s: the fast kernels fail: %s", files.name, selection.error.reason)
    if selection.why_plain is not None:
        backend.notes += (f"plain kernels: with the fast ones, {selection.why_plain}",)
    return selection.cosine


def _encode_reference(backend: TorchBackend, files: ModelFiles) -> Vectors:
    """Return the vectors of the reference batch, or a vector of the scores of each label.

    They are compared by their cosine, which says nothing about a single number.
    """
    lengths = LONG_LENGTHS if backend.device.startswith("cuda") else LENGTHS
    rows = backend.encode(reference_batch(files.vocabulary_size, files.max_tokens, lengths))
    return rows if files.layout.classifier is None else rows.T


def _check_finite(vectors: Vectors, dtype: str) -> None:
    if np.isfinite(vectors).all():
        return
    if dtype == "float32":
        raise UnsupportedModel("the vectors of this model are not finite")
    raise ConfigurationError(
        f"backend.dtype is {dtype!r}, in which the vectors of this model are not finite; set it to "
        "'float32'"
    )

"""The torch backend: chooses device, number format, forward pass, kernels and head."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from embedder.backends.checkpoint import Linear
from embedder.backends.derived_files import cache_folder
from embedder.backends.error_translation import translate_errors
from embedder.backends.heads.classifier import ComputedScores, has_classifier
from embedder.backends.heads.loading import Heads, VectorHead, head_rows, load_heads, no_rows
from embedder.backends.precision import existing_device, reduced_precision
from embedder.backends.torch.accuracy import (
    Results,
    check_finite,
    choose_kernels,
    reference_results,
)
from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.backends.torch.kernels import PLAIN, OneDnnLinear, supports_onednn
from embedder.backends.torch.launcher import CONCURRENT_BATCHES, CopyStream, Launcher, to_device
from embedder.backends.torch.microbatches import (
    compute_in_microbatches,
    encode_in_microbatches,
    joined,
)
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import BackendFailure, ConfigurationError
from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

if TYPE_CHECKING:
    from embedder.backends.pretrained import PaddedForward

    Forward = PackedForward | PaddedForward

_PADDED = ": transformers computes it in padded blocks"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchBackend:
    """A model on one torch device."""

    name = "torch"
    # Blocks have so little padding that batches need not be formed by length.
    padded = False
    max_concurrency = 1

    def __init__(
        self,
        forward: Forward,
        heads: Heads,
        *,
        dtype: str,
        threads: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """With ``threads``, that many threads compute micro-batches of each batch."""
        self.device = str(forward.device)
        self.dtype = dtype
        self.outputs = tuple(heads)
        self.width = heads[self.outputs[0]].width
        tokens = heads.get(OutputKind.TOKENS)
        self.token_width = tokens.width if tokens else 0
        self.max_batch_tokens = 2048 if forward.device.type == "cpu" else 32_768
        self.memory_bytes = forward.memory_bytes + sum(head.memory_bytes for head in heads.values())
        self.notes = notes
        self._forward, self._heads = forward, heads
        self._threads = threads
        self._encode: Callable[[TokenBatch], Vectors] | None = None
        first = heads[self.outputs[0]]
        if isinstance(first, VectorHead):
            # Functions, not methods: a reference cycle would keep an unloaded model in memory.
            compute = partial(_compute, forward, first)
            self._encode = partial(_synchronous, compute)
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
            expected = reference_results(_load(files, "float32", device), files)
            choose_kernels(backend, files, expected)
            torch.cuda.empty_cache()  # returns the memory of the float32 copy
        check_finite(reference_results(backend, files), settings.dtype)
        return backend

    @property
    def has_fast_kernels(self) -> bool:
        """Return whether it uses kernels whose results differ slightly."""
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

    def compute(self, tokens: TokenBatch, kinds: Collection[OutputKind]) -> Results:
        """Return the results of each of ``kinds``, which are among ``outputs``, from one pass."""
        alone = set(kinds) == {self.outputs[0]} and tokens.spans is None
        if self._encode is not None and alone:
            return {self.outputs[0]: self.encode(tokens)}
        if not len(tokens):
            return {kind: no_rows(self._heads[kind]) for kind in kinds}
        compute = partial(self._compute_whole, kinds)
        with translate_errors():
            if self._threads is None:
                return compute(tokens)
            return compute_in_microbatches(compute, tokens, self._threads, joined)

    @torch.inference_mode()
    def _compute_whole(self, kinds: Collection[OutputKind], tokens: TokenBatch) -> Results:
        hidden = self._forward(tokens)
        return {kind: head_rows(self._heads[kind], hidden, tokens) for kind in kinds}

    @torch.inference_mode()
    def _encode_whole(self, tokens: TokenBatch) -> Vectors:
        if self._encode is None:
            raise BackendFailure("this model computes no vectors of a fixed width; use compute()")
        return self._encode(tokens)


def _compute(forward: Forward, head: VectorHead, tokens: TokenBatch) -> torch.Tensor:
    """Return float32[n, width] on the device, which may still be computing it."""
    lengths = to_device(tokens.lengths.astype(np.int64), forward.device)
    return head(forward(tokens), lengths)


def _synchronous(compute: Callable[[TokenBatch], torch.Tensor], tokens: TokenBatch) -> Vectors:
    vectors: Vectors = compute(tokens).to("cpu", torch.float32).numpy()
    return vectors


def _load(
    files: ModelFiles, dtype: str, device: torch.device, shared_in: Path | None = None
) -> TorchBackend:
    reason = _padding_reason(files)
    kind = _DTYPES[dtype]
    if reason is not None and files.layout.classifier is not None:
        return _load_classifier(files, dtype, device, reason)
    forward: Forward
    threads, faster = None, _plain
    if reason is None:
        # Models of transformers may hold state that threads cannot share.
        threads = torch.get_num_threads() if device.type == "cpu" else None
        forward = PackedForward.load(files, dtype=kind, device=device, shared_in=shared_in)
        if supports_onednn(kind, device):
            faster = OneDnnLinear.of
    else:
        # Imported here: transformers takes seconds to import.
        from embedder.backends.pretrained import PaddedForward

        forward = PaddedForward.load(files, dtype=kind, device=device)
    heads = load_heads(files, forward.width, dtype=kind, device=device, faster=faster)
    notes = (f"{reason}{_PADDED}",) if reason else ()
    return TorchBackend(forward, heads, dtype=dtype, threads=threads, notes=notes)


def _load_classifier(
    files: ModelFiles, dtype: str, device: torch.device, reason: str
) -> TorchBackend:
    from embedder.backends.pretrained import PaddedClassifier

    forward = PaddedClassifier.load(files, dtype=_DTYPES[dtype], device=device)
    heads = {OutputKind.SCORES: ComputedScores(forward.width)}
    return TorchBackend(forward, heads, dtype=dtype, notes=(f"{reason}{_PADDED}",))


def _padding_reason(files: ModelFiles) -> str | None:
    """Return why transformers computes a model in padded blocks, or None if it does not."""
    classifier = files.layout.classifier
    reason = packed_unsupported_reason(files.config)
    if reason is None and classifier is not None and not has_classifier(classifier.name):
        return f"no padding-free scores of {classifier.name!r}"
    return reason


def _plain(linear: Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    return linear


def _load_in_auto_precision(
    files: ModelFiles, device: torch.device, shared_in: Path | None
) -> TorchBackend:
    """Load the model in reduced precision if its results agree with float32, else in float32."""
    narrow = reduced_precision(device)
    # With a narrow format, the float32 copy is probably used only for the comparison.
    exact = _load(files, "float32", device, None if narrow else shared_in)
    expected = reference_results(exact, files)
    check_finite(expected, "float32")
    if narrow is None:
        exact.notes += (f"float32: this {device.type} has no bfloat16 in hardware",)
        return exact
    fast = _load(files, narrow, device, shared_in)
    agreement = choose_kernels(fast, files, expected)
    if agreement.close:
        fast.notes += (f"{narrow}: {agreement.text}",)
        chosen = fast
    else:
        exact.notes += (f"float32: in {narrow}, {agreement.text}",)
        chosen = exact
    del exact, fast
    if device.type == "cuda":
        torch.cuda.empty_cache()  # returns the memory of the other copy to the device
    return chosen

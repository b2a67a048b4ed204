"""The torch backend: on a CPU or a GPU, in float32, bfloat16 or float16.

Chooses device, number format and forward pass, pools, and translates torch's errors. Knows nothing
of texts, queues or caches.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from embedder.backends.head import Head
from embedder.backends.packed import PackedForward
from embedder.backends.pieces import encode_in_pieces
from embedder.backends.probe import PROBE_COSINE, agreement, computes_bfloat16, probe_tokens
from embedder.backends.shapes import why_not_packed
from embedder.config import BackendSettings
from embedder.errors import ConfigurationError, OutOfMemory, UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.types import TokenBatch, Vectors

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
        self._head = head
        self._threads = threads

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
        if settings.dtype == "auto":
            return _loaded_by_probe(files, device)
        backend = _loaded(files, settings.dtype, device)
        _check_finite(_probed(backend, files), settings.dtype)
        return backend

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit; a smaller one may.
        """
        if self._threads is None:
            return self._encode_whole(tokens)
        return encode_in_pieces(self._encode_whole, tokens, self._threads)

    @torch.inference_mode()
    def _encode_whole(self, tokens: TokenBatch) -> Vectors:
        try:
            lengths = torch.from_numpy(tokens.lengths.astype(np.int64))
            pooled = self._head(self._forward(tokens), lengths.to(self._forward.device))
            vectors: Vectors = pooled.to("cpu", torch.float32).numpy()
        except RuntimeError as error:
            # On a CPU, torch has no class of its own for this.
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise OutOfMemory(str(error)) from error
            raise
        return vectors


def _loaded(files: ModelFiles, dtype: str, device: torch.device) -> TorchBackend:
    why_not = why_not_packed(files.config)
    forward: Forward
    threads = None
    if why_not is None:
        # What transformers computes may hold state that threads cannot share.
        threads = torch.get_num_threads() if device.type == "cpu" else None
        forward = PackedForward.load(files, dtype=_DTYPES[dtype], device=device)
    else:
        # transformers takes seconds to import, which the models above do not need.
        from embedder.backends.padded import PaddedForward

        forward = PaddedForward.load(files, dtype=_DTYPES[dtype], device=device)
    head = Head(files.layout, hidden_width=forward.width, device=device)
    notes = (f"{why_not}: transformers computes it in padded blocks",) if why_not else ()
    return TorchBackend(forward, head, dtype=dtype, threads=threads, notes=notes)


def _loaded_by_probe(files: ModelFiles, device: torch.device) -> TorchBackend:
    """Load bfloat16 where the hardware has it and a probe agrees, else float32."""
    exact = _loaded(files, "float32", device)
    expected = _probed(exact, files)
    _check_finite(expected, "float32")
    if not computes_bfloat16(device):
        exact.notes += (f"float32: {device.type} here has no bfloat16 in hardware",)
        return exact
    fast = _loaded(files, "bfloat16", device)
    cosine = agreement(expected, _probed(fast, files))
    if cosine >= PROBE_COSINE:
        fast.notes += (f"bfloat16: a probe agrees with float32 to {cosine:.5f}",)
        chosen = fast
    else:
        exact.notes += (f"float32: with bfloat16 a probe agrees to {cosine:.5f} only",)
        chosen = exact
    del exact, fast
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the other copy's memory, for whoever asks how much is left
    return chosen


def _probed(backend: TorchBackend, files: ModelFiles) -> Vectors:
    return backend.encode(probe_tokens(files.vocabulary_size, files.max_tokens))


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

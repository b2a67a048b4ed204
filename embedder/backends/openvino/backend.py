"""The OpenVINO backend: dense vectors of BERT-like encoders on a CPU, in float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.derived_files import cache_folder
from embedder.backends.error_translation import translate_errors
from embedder.backends.heads.dense import DenseHead
from embedder.backends.openvino.forward import PRECISIONS, OpenVinoForward
from embedder.backends.openvino.pool_weights import POOL_WEIGHTS
from embedder.backends.precision import has_fast_bfloat16, reference_batch
from embedder.backends.torch.architectures import packed_unsupported_reason
from embedder.backends.torch.microbatches import encode_in_microbatches
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

_CPU = torch.device("cpu")


class OpenVinoBackend:
    """A model in OpenVINO on the CPU."""

    name = "openvino"
    device = "cpu"
    outputs: tuple[OutputKind, ...] = (OutputKind.DENSE,)
    token_width = 0
    # Inputs share the rows of a rectangle, so batches need not be formed by length.
    padded = False
    max_concurrency = 1
    max_batch_tokens = 2048

    def __init__(
        self, forward: OpenVinoForward, head: DenseHead, *, dtype: str, threads: int
    ) -> None:
        self.dtype = dtype
        self.width = head.width
        self.memory_bytes = forward.memory_bytes + head.memory_bytes
        self.notes: tuple[str, ...] = ()
        self._forward, self._head, self._threads = forward, head, threads

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> OpenVinoBackend:
        """Load a model's weights.

        Raises:
            ConfigurationError: the device or the number format is not supported.
            UnsupportedModel: the model is not supported, or its vectors are not finite.
        """
        if settings.device not in ("auto", "cpu"):
            raise ConfigurationError(
                f"backend.device is {settings.device!r}; the openvino backend computes on the cpu"
            )
        if (reason := unsupported_reason(files)) is not None:
            raise UnsupportedModel(f"{files.layout.transformer}: {reason}")
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        threads = settings.threads or torch.get_num_threads()
        dtype = _dtype(settings.dtype)
        shared_in = cache_folder(settings.cache_dir, "weights") if settings.shared_weights else None
        pooling = tuple(POOL_WEIGHTS[name] for name in files.layout.pooling)
        forward = OpenVinoForward.load(
            files, pooling, dtype=dtype, threads=threads, shared_in=shared_in
        )
        head = DenseHead(files.layout, hidden_width=forward.width, device=_CPU)
        backend = cls(forward, head, dtype=dtype, threads=threads)
        vectors = backend.encode(reference_batch(files.vocabulary_size, files.max_tokens))
        if not np.isfinite(vectors).all():
            raise UnsupportedModel(f"the vectors of {files.name} are not finite in openvino")
        return backend

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit into memory; a smaller one may.
            BackendFailure: OpenVINO failed for another reason.
        """
        if not len(tokens):
            return np.empty((0, self.width), np.float32)
        with translate_errors():
            return encode_in_microbatches(self._encode_inputs, tokens, self._threads)

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        """Return the results of each of ``kinds``, which are among ``outputs``, from one pass.

        Of tokens with spans, they are `RaggedRows` with a vector for each span.

        Raises:
            OutOfMemory, BackendFailure: as `encode`.
        """
        if tokens.spans is None:
            return {kind: self.encode(tokens) for kind in kinds}
        with translate_errors():
            vectors = self._encode_spans(tokens, tokens.span_bounds())
        rows = RaggedRows.of(vectors, np.array(list(map(len, tokens.spans))))
        return dict.fromkeys(kinds, rows)

    def _encode_inputs(self, tokens: TokenBatch) -> Vectors:
        ends = np.cumsum(tokens.lengths, dtype=np.int64)
        return self._encode_spans(tokens, np.stack([ends - tokens.lengths, ends], axis=1))

    @torch.inference_mode()
    def _encode_spans(self, tokens: TokenBatch, spans: NDArray[np.int64]) -> Vectors:
        pooled = torch.from_numpy(self._forward(tokens, spans))
        vectors: Vectors = self._head.project(pooled).numpy()
        return vectors


def unsupported_reason(files: ModelFiles) -> str | None:
    """Return the reason why a model is not computed by this backend, or None if it is."""
    if tuple(files.layout.outputs) != OpenVinoBackend.outputs:
        return "the openvino backend computes dense vectors only"
    if (reason := packed_unsupported_reason(files.config)) is not None:
        return f"the openvino backend has {reason}"
    missing = [name for name in files.layout.pooling if name not in POOL_WEIGHTS]
    return f"the openvino backend has no pooling {missing[0]!r}" if missing else None


def _dtype(configured: str) -> str:
    if configured == "auto":
        return "bfloat16" if has_fast_bfloat16(_CPU) else "float32"
    if configured in PRECISIONS:
        return configured
    raise ConfigurationError(
        f"backend.dtype is {configured!r}; the openvino backend computes {' and '.join(PRECISIONS)}"
    )

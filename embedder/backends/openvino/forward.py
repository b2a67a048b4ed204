"""The forward pass in OpenVINO: embeddings by torch, then layers and pooling in one graph."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Checkpoint, custom_code_error, tensor_bytes
from embedder.backends.openvino.graph import BIAS, POOL, ROWS, SEGMENTS, encoder_graph
from embedder.backends.openvino.pool_weights import PoolWeights
from embedder.backends.openvino.row_layout import RowLayout, lay_out
from embedder.backends.openvino.runtime import ov
from embedder.backends.torch.architectures import EncoderShape, expected_rows
from embedder.backends.torch.embeddings import Embeddings
from embedder.backends.torch.relative_positions import RelativePositionBias
from embedder.backends.torch.shared_weights import open_weights
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""The number formats by their names here, as OpenVINO names them."""

_CPU = torch.device("cpu")


class OpenVinoForward:
    """An encoder with its pooling in one number format; ``threads`` may call it at once.

    ``width`` is that of the hidden states, ``memory_bytes`` the size of the weights.
    """

    def __init__(
        self,
        shape: EncoderShape,
        weights: Checkpoint,
        embeddings: Embeddings,
        pooling: tuple[PoolWeights, ...],
        *,
        precision: str,
        threads: int,
    ) -> None:
        self.width = shape.width
        self._embeddings, self._pooling = embeddings, pooling
        self._bias: RelativePositionBias | None = None
        if shape.names.relative_bias is not None:
            buckets = weights.tensor(shape.names.relative_bias).float()
            self._bias = RelativePositionBias.of(buckets, embeddings.max_positions)
        graph = encoder_graph(shape, weights)
        self._tensors = graph.tensors
        self.memory_bytes = embeddings.memory_bytes + tensor_bytes(graph.tensors, self._bias)
        configuration = _configuration(precision, threads)
        compiled = ov.Core().compile_model(graph.model, "CPU", configuration)
        self._requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        pooling: tuple[PoolWeights, ...],
        *,
        dtype: str,
        threads: int,
        shared_in: Path | None = None,
    ) -> OpenVinoForward:
        """Load a model for which `packed_unsupported_reason` is None.

        Processes with the same ``shared_in`` share the memory of the embeddings.

        Raises:
            UnsupportedModel: a number or a tensor is missing or has another size, or the model has
                weights that only its own code uses.
        """
        shape = EncoderShape.read(files.config)
        kind = torch.float32 if dtype == "float32" else torch.bfloat16
        weights = open_weights(files, dtype=kind, device=_CPU, shared_in=shared_in)
        for name, key, rows in expected_rows(files.config):
            weights.check_rows(name, key, rows)
        embeddings = Embeddings(shape, weights, files.token_types)
        precision = PRECISIONS[dtype]
        forward = cls(shape, weights, embeddings, pooling, precision=precision, threads=threads)
        if files.has_custom_code and (unused := weights.unused_tensors()):
            raise custom_code_error(files.layout.transformer, unused)
        return forward

    def __call__(self, tokens: TokenBatch, spans: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32[k, poolings × width], the pooled hidden states of each span.

        ``spans`` is int64[k, 2] as `TokenBatch.span_bounds`.
        """
        layout = lay_out(tokens.lengths)
        places = _ranges(layout.starts, tokens.lengths.astype(np.int64))
        rows = places[spans[:, 0]] // layout.length
        numbers = _numbers_in_row(rows)
        inputs = self._inputs(tokens, layout, places)
        inputs[POOL] = self._pool(layout, spans[:, 1] - spans[:, 0], places[spans[:, 0]], numbers)
        pooled = self._infer(inputs).reshape(layout.rows, len(self._pooling), -1, self.width)
        result: NDArray[np.float32] = pooled[rows, :, numbers].reshape(len(spans), -1)
        return result

    def _pool(
        self,
        layout: RowLayout,
        sizes: NDArray[np.int64],
        begins: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return float32[rows, poolings × spans in a row, length]: the weight of every place.

        ``begins`` int64[k] is the first place of each span, ``numbers`` its number in its row.
        """
        shape = (layout.rows, len(self._pooling), int(numbers.max()) + 1, layout.length)
        pool = np.zeros(shape, np.float32)
        rows, columns = np.divmod(_ranges(begins, sizes), layout.length)
        for number, weights in enumerate(self._pooling):
            pool[rows, number, np.repeat(numbers, sizes), columns] = weights(sizes)
        return pool.reshape(layout.rows, -1, layout.length)

    def _inputs(
        self, tokens: TokenBatch, layout: RowLayout, places: NDArray[np.int64]
    ) -> dict[str, Any]:
        segments = np.full(layout.rows * layout.length, -1, np.int32)
        segments[places] = np.repeat(np.arange(len(tokens), dtype=np.int32), tokens.lengths)
        rows = torch.zeros(len(segments), self.width)
        rows[torch.from_numpy(places)] = self._embeddings(tokens).float()
        inputs = {
            ROWS: rows.view(layout.rows, layout.length, -1).numpy(),
            SEGMENTS: segments.reshape(layout.rows, layout.length),
        }
        if self._bias is not None:
            inputs[BIAS] = self._bias.between(layout.length, layout.length).numpy()
        return inputs

    def _infer(self, inputs: dict[str, Any]) -> NDArray[np.float32]:
        request = self._requests.get()
        try:
            request.infer(inputs, share_inputs=True)
            return np.array(request.get_output_tensor(0).data)
        finally:
            self._requests.put(request)


def _configuration(precision: str, threads: int) -> dict[str, Any]:
    # With no stream OpenVINO computes in the calling thread, with its priority.
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 0 if threads == 1 else threads,
        "INFERENCE_NUM_THREADS": threads,
        # Other processes need the cores as well, and may be pinned to the same ones.
        "ENABLE_CPU_PINNING": False,
    }


def _ranges(begins: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of all ranges, end to end."""
    ends = np.cumsum(sizes, dtype=np.int64)
    return np.repeat(begins - (ends - sizes), sizes) + np.arange(int(ends[-1]))


def _numbers_in_row(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each span among the spans of its row."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    numbers = np.empty_like(rows)
    numbers[order] = np.arange(len(rows)) - np.searchsorted(ascending, ascending)
    return numbers

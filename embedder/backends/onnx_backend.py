"""The ONNX backend: a model's graph in float32, or with matrix products in int8."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from embedder.backends.derived_files import cache_folder, derived_file, discard
from embedder.backends.error_translation import translate_errors
from embedder.backends.grouping import attended_rows, group_by_length
from embedder.backends.heads.loading import Heads, head_rows, load_heads, no_rows
from embedder.backends.onnx_bundled_graph import (
    BUNDLED_GRAPH,
    OUTPUTS,
    bundled_graph,
    graph_files,
    unusable_reason,
)
from embedder.backends.onnx_export import GRAPH, export_graph, graph_key
from embedder.backends.onnx_quantization import quantize_graph, weight_bits
from embedder.backends.onnx_session import choose_device, open_session
from embedder.backends.precision import reference_batch
from embedder.core.errors import BackendFailure, ConfigurationError, UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

_INTEGERS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}

_Open = Callable[[Path], onnxruntime.InferenceSession]


class OnnxBackend:
    """A model in ONNX Runtime on one device."""

    name = "onnx"
    # Blocks have so little padding that batches need not be formed by length.
    padded = False
    max_concurrency = 1

    def __init__(self, forward: _Forward, heads: Heads, *, device: str, dtype: str) -> None:
        self.device = device
        self.dtype = dtype
        self.outputs = tuple(heads)
        self.width = heads[self.outputs[0]].width
        tokens = heads.get(OutputKind.TOKENS)
        self.token_width = tokens.width if tokens else 0
        self.max_batch_tokens = 2048 if device == "cpu" else 32_768
        self.memory_bytes = forward.memory_bytes + sum(head.memory_bytes for head in heads.values())
        self.notes = forward.notes
        self._forward = forward
        self._heads = heads

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> OnnxBackend:
        """Load the graph that a model brings, or one that is exported from its weights once.

        Raises:
            ConfigurationError: the device or the number format is not supported, or an exported
                graph cannot be stored.
            UnsupportedModel: the model cannot be exported, or its vectors are not finite.
        """
        dtype = _dtype(settings.dtype)
        device = choose_device(settings.device, dtype)
        threads = settings.threads or torch.get_num_threads()
        _check_types(files)
        forward = _open_graph(files, settings, dtype, partial(open_session, device, threads))
        heads = load_heads(
            files, hidden_width=forward.width, dtype=torch.float32, device=torch.device("cpu")
        )
        backend = cls(forward, heads, device=device, dtype=dtype)
        batch = reference_batch(files.vocabulary_size, files.max_tokens)
        for rows in backend.compute(batch, backend.outputs).values():
            if not np.isfinite(rows.values if isinstance(rows, RaggedRows) else rows).all():
                raise UnsupportedModel(f"the vectors of {files.name} are not finite in onnx")
        return backend

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit into memory; a smaller one may.
            BackendFailure: ONNX Runtime failed for another reason, or the default result of the
                model has no fixed width.
        """
        vectors = self.compute(tokens, self.outputs[:1])[self.outputs[0]]
        if isinstance(vectors, RaggedRows):
            raise BackendFailure("this model computes no vectors of a fixed width; use compute()")
        return vectors

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        """Return the results of each of ``kinds``, which are among ``outputs``, from one pass.

        Raises:
            OutOfMemory, BackendFailure: as `encode`.
        """
        heads = {kind: self._heads[kind] for kind in kinds}
        if not len(tokens):
            return {kind: no_rows(head) for kind, head in heads.items()}
        with translate_errors(), torch.inference_mode():
            hidden = torch.from_numpy(self._forward(tokens))
            return {kind: head_rows(head, hidden, tokens) for kind, head in heads.items()}


@dataclass(frozen=True, slots=True)
class _Forward:
    """A graph that computes hidden states; ``memory_bytes`` is the size of its files."""

    session: onnxruntime.InferenceSession
    output: str
    width: int
    memory_bytes: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession, paths: list[Path], *notes: str) -> _Forward:
        """Use a session of the graph in the given files.

        Raises:
            ValueError: the graph does not compute hidden states of any batch.
        """
        outputs = session.get_outputs()
        if (reason := unusable_reason(session.get_inputs(), outputs)) is not None:
            raise ValueError(reason)
        output = next(entry for entry in outputs if entry.name in OUTPUTS)
        size = sum(path.stat().st_size for path in paths)
        return cls(session, output.name, output.shape[2], size, notes)

    def __call__(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return the last hidden states, one row per token: float32[total, width]."""
        out = np.empty((len(tokens.ids), self.width), np.float32)
        for group in group_by_length(tokens.lengths, attended_rows(tokens)):
            hidden = self._block(tokens.ids[group.rows], group.attended)
            out[group.rows[group.valid]] = hidden[group.valid]
        return out

    def _block(self, ids: NDArray[np.int32], attended: NDArray[np.bool_]) -> NDArray[np.float32]:
        types = np.zeros_like(ids)
        values = {"input_ids": ids, "attention_mask": attended, "token_type_ids": types}
        feed = {
            entry.name: values[entry.name].astype(_INTEGERS[entry.type])
            for entry in self.session.get_inputs()
        }
        hidden: NDArray[np.float32] = self.session.run([self.output], feed)[0]
        return hidden


def _check_types(files: ModelFiles) -> None:
    """Refuse token types other than 0, which are not passed to a graph."""
    if files.token_types is not None and files.token_types.all != {0}:
        raise UnsupportedModel(
            f"{files.tokenizer} gives token types other than 0, which the onnx backend does not "
            "support; set backend.name to 'torch'"
        )


def _dtype(configured: str) -> str:
    if configured in ("auto", "float32", "int8"):
        return "int8" if configured == "int8" else "float32"
    raise ConfigurationError(
        f"backend.dtype is {configured!r}; the onnx backend computes float32 and int8"
    )


def _open_graph(
    files: ModelFiles, settings: BackendSettings, dtype: str, open_session: _Open
) -> _Forward:
    """Open the graph that the model brings, otherwise an exported one."""
    graph = bundled_graph(files) if dtype == "float32" else None
    if graph is None:
        return _open_exported(files, settings, dtype, open_session)
    try:
        if files.expected_sha256 is not None:
            raise ValueError("the configured sha256 is that of the weights")
        paths = graph_files(graph)  # refuses unsafe references before the graph is opened
        note = f"the graph is the model's own {BUNDLED_GRAPH}"
        return _Forward.of(open_session(graph), paths, note)
    except ValueError as error:
        forward = _open_exported(files, settings, dtype, open_session)
        return replace(forward, notes=(f"the model's own {BUNDLED_GRAPH} is not used: {error}",))


def _open_exported(
    files: ModelFiles, settings: BackendSettings, dtype: str, open_session: _Open
) -> _Forward:
    """Open the exported graph; export it first if it is missing, and once more if it is refused."""
    problem: ValueError | None = None
    for _ in range(2):
        graph = _exported_graph(files, cache_folder(settings.cache_dir, "onnx"), dtype)
        try:
            return _Forward.of(open_session(graph), list(graph.parent.glob(f"{GRAPH}*")))
        except ValueError as error:
            problem = error
            discard(graph)
    raise UnsupportedModel(f"{files.name} cannot be computed in onnx: {problem}") from problem


def _exported_graph(files: ModelFiles, folder: Path, dtype: str) -> Path:
    key, export = graph_key(files, "float32"), partial(export_graph, files)
    float32_graph = partial(derived_file, folder, key, GRAPH, export)
    if dtype == "float32":
        return float32_graph()
    bits = weight_bits()
    return derived_file(
        folder,
        graph_key(files, f"{dtype}, weights of {bits} bits"),
        GRAPH,
        lambda staging: quantize_graph(float32_graph(), staging, bits=bits),
    )

"""The ONNX Runtime backend: a graph in float32, or with matrix products in eight bits.

Chooses device, number format and graph, runs blocks of inputs of like length, and pools. Knows
nothing of texts, queues or caches of vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from embedder.backends.derived_files import cache_folder, discard, kept
from embedder.backends.error_translation import translate_errors
from embedder.backends.grouping import group_by_length
from embedder.backends.head import Head
from embedder.backends.onnx.bundled_graph import (
    BUNDLED_GRAPH,
    OUTPUTS,
    bundled_graph,
    graph_files,
    unusable_reason,
)
from embedder.backends.onnx.export import GRAPH, export_graph, graph_key
from embedder.backends.onnx.quantization import quantize_graph, weight_bits
from embedder.backends.precision import reference_batch
from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.types import TokenBatch, Vectors
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

_SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime does to a graph although its own CPU operators then take a tenth longer."""


class OnnxBackend:
    """A model in ONNX Runtime on one device."""

    name = "onnx"
    # Blocks are padded by so little that packing need not pay for it.
    padded = False
    max_concurrency = 1

    def __init__(self, forward: _Forward, head: Head, *, device: str, dtype: str) -> None:
        self.device = device
        self.dtype = dtype
        self.width = head.width
        self.max_batch_tokens = 2048 if device == "cpu" else 32_768
        self.memory_bytes = forward.memory_bytes + head.memory_bytes
        self.notes = forward.notes
        self._forward = forward
        self._head = head

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> OnnxBackend:
        """Load a model's own graph, or one that is exported from its weights on first use.

        Raises:
            ConfigurationError: the device or the number format is not there, or an exported graph
                cannot be kept.
            UnsupportedModel: the model cannot be exported, or computes what is not finite.
        """
        dtype = _dtype(settings.dtype)
        device = _device(settings.device, dtype)
        threads = settings.threads or torch.get_num_threads()
        _check_types(files)
        forward = _open_any(files, settings, dtype, partial(_session, device, threads))
        head = Head(files.layout, hidden_width=forward.width, device=torch.device("cpu"))
        backend = cls(forward, head, device=device, dtype=dtype)
        probe = reference_batch(files.vocabulary_size, files.max_tokens)
        if not np.isfinite(backend.encode(probe)).all():
            raise UnsupportedModel(f"{files.name} computes vectors in onnx that are not finite")
        return backend

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order.

        Raises:
            OutOfMemory: the batch does not fit; a smaller one may.
            BackendFailure: the runtime failed in another way.
        """
        lengths = torch.from_numpy(tokens.lengths.astype(np.int64))
        with translate_errors():
            hidden = torch.from_numpy(self._forward(tokens))
            with torch.inference_mode():
                vectors: Vectors = self._head(hidden, lengths).numpy()
        return vectors


@dataclass(frozen=True, slots=True)
class _Forward:
    """A graph that computes hidden states; ``memory_bytes`` is what its weights take."""

    session: onnxruntime.InferenceSession
    output: str
    width: int
    memory_bytes: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession, paths: list[Path], *notes: str) -> _Forward:
        """Take a session of the graph in the given files.

        Raises:
            ValueError: it computes something else.
        """
        outputs = session.get_outputs()
        if (why_not := unusable_reason(session.get_inputs(), outputs)) is not None:
            raise ValueError(why_not)
        output = next(entry for entry in outputs if entry.name in OUTPUTS)
        size = sum(path.stat().st_size for path in paths)
        return cls(session, output.name, output.shape[2], size, notes)

    def __call__(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return the last hidden state, one row a token: float32[total, width]."""
        out = np.empty((len(tokens.ids), self.width), np.float32)
        for group in group_by_length(tokens.lengths):
            hidden = self._block(tokens.ids[group.rows], group.valid)
            out[group.rows[group.valid]] = hidden[group.valid]
        return out

    def _block(self, ids: NDArray[np.int32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": valid, "token_type_ids": np.zeros_like(ids)}
        feed = {
            entry.name: given[entry.name].astype(_INTEGERS[entry.type])
            for entry in self.session.get_inputs()
        }
        hidden: NDArray[np.float32] = self.session.run([self.output], feed)[0]
        return hidden


def _check_types(files: ModelFiles) -> None:
    """Refuse token types other than 0, which no graph is given."""
    if files.token_types is not None and files.token_types.all != {0}:
        raise UnsupportedModel(
            f"{files.tokenizer} gives token types other than 0, which the onnx backend does not "
            "compute; set backend.name to 'torch'"
        )


_INTEGERS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}

_Open = Callable[[Path], onnxruntime.InferenceSession]


def _dtype(wanted: str) -> str:
    if wanted in ("auto", "float32"):
        return "float32"
    if wanted == "int8":
        return "int8"
    raise ConfigurationError(
        f"backend.dtype is {wanted!r}; the onnx backend computes float32 and int8"
    )


def _device(wanted: str, dtype: str) -> str:
    has_cuda = _CUDA in onnxruntime.get_available_providers()
    if wanted == "auto":
        return "cuda" if has_cuda and dtype != "int8" else "cpu"
    if wanted == "cpu":
        return wanted
    if not has_cuda or not wanted.startswith("cuda"):
        seen = "cpu and cuda" if has_cuda else "cpu"
        raise ConfigurationError(f"backend.device is {wanted!r}; onnxruntime here has {seen}")
    if dtype == "int8":
        raise ConfigurationError(
            f"backend.device is {wanted!r}; the onnx backend computes int8 on the cpu only"
        )
    return wanted


def _session(device: str, threads: int, graph: Path) -> onnxruntime.InferenceSession:
    """Start a session.

    Raises:
        ConfigurationError: the device cannot be used.
        ValueError: the runtime does not take the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    # It would keep a plan of memory, some 25 KB, for every shape of a block that it ever saw.
    options.enable_mem_pattern = False
    # Other replicas want the cores that a waiting thread would burn.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str | tuple[str, dict[str, str]]] = [_CPU]
    if device != "cpu":
        providers.insert(0, (_CUDA, {"device_id": device.partition(":")[2] or "0"}))
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=providers, disabled_optimizers=_SLOWER
        )
    except Exception as error:
        raise ValueError(f"onnxruntime does not take it: {error}") from error
    if device != "cpu" and _CUDA not in session.get_providers():
        raise ConfigurationError(f"backend.device is {device!r}, which onnxruntime cannot use")
    return session


def _open_any(
    files: ModelFiles, settings: BackendSettings, dtype: str, open_graph: _Open
) -> _Forward:
    """Open the model's own graph, else one that is kept."""
    graph = bundled_graph(files) if dtype == "float32" else None
    if graph is None:
        return _open_kept(files, settings, dtype, open_graph)
    try:
        if files.expected_sha256 is not None:
            raise ValueError("the digest that is pinned is not of it but of the weights")
        paths = graph_files(graph)
        return _Forward.of(
            open_graph(graph), paths, f"the graph is the model's own {BUNDLED_GRAPH}"
        )
    except ValueError as error:
        forward = _open_kept(files, settings, dtype, open_graph)
        return replace(forward, notes=(f"the model's own {BUNDLED_GRAPH} is not used: {error}",))


def _open_kept(
    files: ModelFiles, settings: BackendSettings, dtype: str, open_graph: _Open
) -> _Forward:
    """Open the graph that was exported from the weights, exporting it where it is not there."""
    folder = cache_folder(settings.cache_dir, "onnx")
    graph = _kept(files, folder, dtype)
    try:
        return _forward(graph, open_graph)
    except ValueError:
        discard(graph)
    try:
        return _forward(_kept(files, folder, dtype), open_graph)
    except ValueError as error:
        raise UnsupportedModel(f"{files.name} cannot be computed in onnx: {error}") from error


def _forward(graph: Path, open_graph: _Open) -> _Forward:
    return _Forward.of(open_graph(graph), list(graph.parent.glob(f"{GRAPH}*")))


def _kept(files: ModelFiles, folder: Path, dtype: str) -> Path:
    key, make = graph_key(files, "float32"), partial(export_graph, files)
    exact = partial(kept, folder, key, GRAPH, make)
    if dtype == "float32":
        return exact()
    bits = weight_bits()
    return kept(
        folder,
        graph_key(files, f"{dtype}, weights of {bits} bits"),
        GRAPH,
        lambda staging: quantize_graph(exact(), staging, bits=bits),
    )

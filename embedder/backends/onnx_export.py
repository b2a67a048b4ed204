"""Export of a transformer to an ONNX graph, which is compared with the weights."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from embedder.backends.onnx_session import open_session
from embedder.backends.precision import min_cosine
from embedder.core.errors import MissingExtra, UnsupportedModel
from embedder.models.files import ModelFiles

GRAPH = "model.onnx"
"""The file name of a graph; its weights are in a file beside it."""

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "last_hidden_state"

OPSETS = (23, 22)
"""Opset 23 has a faster attention operator. Opset 22 is for models with rotary positions, whose
operator in opset 23 ONNX Runtime does not support for every shape."""

MIN_COSINE = 0.9999
"""The least cosine of a hidden state of the graph to that of the weights."""

_SCHEMA = 1
"""Increase this number when the export changes, so that stored graphs are not reused."""


def graph_key(files: ModelFiles, dtype: str) -> str:
    """Return a digest of everything that a graph depends on."""
    config = json.dumps(files.config, sort_keys=True)
    parts = (str(_SCHEMA), str(OPSETS), dtype, files.digest, config)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def export_graph(files: ModelFiles, folder: Path) -> None:
    """Export a model's transformer to ``folder``, its weights to a file beside the graph.

    The graph maps `INPUTS`, int64[batch, sequence], to `OUTPUT`, float32[batch, sequence, width].

    Raises:
        MissingExtra: the exporter is not installed.
        UnsupportedModel: transformers or the exporter does not support the model.
    """
    # Imported here: transformers takes seconds to import.
    from embedder.backends.pretrained import load_pretrained

    loaded = load_pretrained(files, dtype=torch.float32, device=torch.device("cpu"))
    loaded.config.use_cache = False  # the key-value cache is for generation
    model = _HiddenStates(loaded).eval()
    for opset in OPSETS:
        problem = _export_and_check(model, files, folder / GRAPH, opset)
        if problem is None:
            return
        for path in folder.iterdir():
            path.unlink()
    raise UnsupportedModel(
        f"{files.layout.transformer} holds a {files.config.get('model_type')!r}, which cannot be "
        f"exported to ONNX: {problem}"
    )


class _HiddenStates(torch.nn.Module):
    """A transformer that returns its last hidden states only."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


def _export_and_check(
    model: _HiddenStates, files: ModelFiles, path: Path, opset: int
) -> str | None:
    """Export with one opset; return the problem, or None if the graph is accurate."""
    try:
        _export(model, files, path, opset)
        worst = _worst_cosine(model, files, path)
    except ImportError as error:
        raise MissingExtra("exporting a model to ONNX", "onnxscript", "onnx") from error
    except Exception as error:  # noqa: BLE001 - the libraries have no common error class
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return (
        None
        if worst >= MIN_COSINE
        else f"the least cosine of its hidden states is only {worst:.5f}"
    )


def _export(model: _HiddenStates, files: ModelFiles, path: Path, opset: int) -> None:
    # Sizes above 1 and a mask with padding, so that the exporter makes none of them constant.
    block = _block(files, [7, 5])
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _silenced():
        torch.onnx.export(
            model,
            tuple(block.values()),
            path,
            input_names=INPUTS,
            output_names=(OUTPUT,),
            dynamic_shapes=(axes, axes),
            opset_version=opset,
            dynamo=True,
            external_data=True,
            verbose=False,
        )


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence warnings of the exporter that users cannot act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _worst_cosine(model: _HiddenStates, files: ModelFiles, path: Path) -> float:
    """Return the least cosine of a graph's hidden states to those of the weights."""
    session = open_session("cpu", torch.get_num_threads(), path)
    worst = 1.0
    for lengths in ([1], [2, 9, 4], [12]):
        block = _block(files, lengths)
        with torch.inference_mode():
            expected = model(**block).numpy()
        (found,) = session.run(None, {name: part.numpy() for name, part in block.items()})
        valid = block["attention_mask"].numpy() > 0
        worst = min(worst, min_cosine(expected[valid], found[valid]))
    return worst


def _block(files: ModelFiles, lengths: list[int]) -> dict[str, torch.Tensor]:
    """Return inputs of random ids, padded on the right."""
    sizes = np.minimum(lengths, files.max_tokens)
    shape = (len(sizes), int(sizes.max()))
    ids = np.random.default_rng(0).integers(0, files.vocabulary_size, size=shape)
    mask = np.arange(shape[1])[None, :] < sizes[:, None]
    parts = (torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)))
    return dict(zip(INPUTS, parts, strict=True))

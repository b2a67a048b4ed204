"""A transformer's weights as an ONNX graph that computes the same, which is checked.

Knows nothing of where graphs are kept or how batches are run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from embedder.backends.precision import min_cosine
from embedder.core.errors import MissingExtra, UnsupportedModel
from embedder.models.files import ModelFiles

GRAPH = "model.onnx"
"""What a graph is called in its folder; its weights are beside it."""

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "last_hidden_state"

OPSETS = (23, 22)
"""The first has an operator for attention, which is computed faster, and one for rotary positions,
which ONNX Runtime does not compute for every shape; a model that has these gets the second."""

MIN_COSINE = 0.9999
"""How well every hidden state of a probe must agree with that of the weights."""

_SCHEMA = 1
"""Raised when the same weights are to be exported in another way."""


def graph_key(files: ModelFiles, dtype: str) -> str:
    """Return a digest of everything that decides a graph."""
    config = json.dumps(files.config, sort_keys=True)
    parts = (str(_SCHEMA), str(OPSETS), dtype, files.digest, config)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def export_graph(files: ModelFiles, folder: Path) -> None:
    """Write a model's transformer as a graph, its weights in a file beside it.

    It takes `INPUTS`, int64[batch, sequence], to `OUTPUT`, float32[batch, sequence, width].

    Raises:
        MissingExtra: what exports is not installed.
        UnsupportedModel: transformers or the exporter cannot take the model.
    """
    # Only an export needs transformers, which takes seconds to import.
    from embedder.backends.pretrained import load_pretrained

    loaded = load_pretrained(files, dtype=torch.float32, device=torch.device("cpu"))
    loaded.config.use_cache = False  # of a decoder, only the hidden states are wanted
    model = _HiddenStates(loaded).eval()
    for opset in OPSETS:
        problem = _try(model, files, folder / GRAPH, opset)
        if problem is None:
            return
        for path in folder.iterdir():
            path.unlink()
    raise UnsupportedModel(
        f"{files.layout.transformer} holds a {files.config.get('model_type')!r}, which cannot be "
        f"exported to ONNX: {problem}"
    )


class _HiddenStates(torch.nn.Module):
    """A transformer without its other outputs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


def _try(model: _HiddenStates, files: ModelFiles, path: Path, opset: int) -> str | None:
    """Export with one set of operators and return what is wrong with the result."""
    try:
        _export(model, files, path, opset)
        worst = _worst_cosine(model, files, path)
    except ImportError as error:
        raise MissingExtra("exporting a model to ONNX", "onnxscript", "onnx") from error
    except Exception as error:  # noqa: BLE001 - neither library's errors have a base of their own
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None if worst >= MIN_COSINE else f"its hidden states agree to {worst:.5f} only"


def _export(model: _HiddenStates, files: ModelFiles, path: Path, opset: int) -> None:
    # Sizes other than 1, and a mask that hides something: neither becomes a constant.
    block = _block(files, [7, 5])
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet():
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
def _quiet() -> Iterator[None]:
    """Silence the exporter, which tells every user what only its authors can mend."""
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
    """Compare a graph's hidden states with those of the weights, in blocks of other sizes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    worst = 1.0
    for lengths in ([1], [2, 9, 4], [12]):
        block = _block(files, lengths)
        with torch.inference_mode():
            expected = model(**block).numpy()
        (found,) = session.run(None, {name: part.numpy() for name, part in block.items()})
        seen = block["attention_mask"].numpy() > 0
        worst = min(worst, min_cosine(expected[seen], found[seen]))
    return worst


def _block(files: ModelFiles, lengths: list[int]) -> dict[str, torch.Tensor]:
    """Return inputs of any ids that the model knows, padded at their right end."""
    sizes = np.minimum(lengths, files.max_tokens)
    shape = (len(sizes), int(sizes.max()))
    ids = np.random.default_rng(0).integers(0, files.vocabulary_size, size=shape)
    mask = np.arange(shape[1])[None, :] < sizes[:, None]
    parts = (torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)))
    return dict(zip(INPUTS, parts, strict=True))

"""Sparse weights and token vectors in bfloat16, and in ONNX Runtime, beside torch in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.backends.precision import Agreement
from embedder.core.types import Truncate
from embedder.inference.loading import load_tokenizer
from embedder.settings.model import BackendSettings
from tests.tiny_retrieval_models import (
    EXPANSION,
    write_bge_m3,
    write_multi_vector,
    write_splade,
)
from tests.unit.backends.parity import cpu_settings, load, open_files

TEXTS = ["hello, world!", "a b c " * 30, "x", "q hello"]


def expanded(folder: Path) -> Path:
    return write_multi_vector(folder, "mpnet", transformer={"query_expansion": EXPANSION})


@pytest.mark.parametrize("write", [write_splade, expanded, write_bge_m3])
def test_results_in_bfloat16_are_close(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    directory = write(tmp_path)
    exact, narrow = load(directory), load(directory, cpu_settings("bfloat16"))
    tokens = load_tokenizer(open_files(directory)).encode(TEXTS, truncate=Truncate.END).tokens

    agreement = Agreement.of(
        exact.compute(tokens, exact.outputs), narrow.compute(tokens, narrow.outputs)
    )

    assert agreement.value > 0.99


def test_results_in_onnx_are_those_of_torch(tmp_path: Path) -> None:
    backend = pytest.importorskip("embedder.backends.onnx_backend").OnnxBackend
    # An export takes a second a layer.
    directory = write_bge_m3(tmp_path / "model", num_hidden_layers=1)
    files, exact = open_files(directory), load(directory)
    tokens = load_tokenizer(files).encode(TEXTS, truncate=Truncate.END).tokens
    settings = BackendSettings(name="onnx", device="cpu", cache_dir=str(tmp_path / "cache"))

    onnx = backend.load(files, settings)

    results = onnx.compute(tokens, onnx.outputs)
    assert tuple(results) == exact.outputs
    for kind, rows in exact.compute(tokens, exact.outputs).items():
        assert Agreement.of({kind: rows}, {kind: results[kind]}).value > 0.99999

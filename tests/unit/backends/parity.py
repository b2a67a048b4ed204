"""One model directory encoded by this library and by sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.packed import PackedForward
from embedder.core.types import TokenBatch, Vectors
from embedder.core.vectors import normalize_rows
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings
from tests.tiny_models import BERT_CONFIG, PIECES

POSITIONS = int(BERT_CONFIG["max_position_embeddings"])

FORWARD_PASSES = ("bert", "mpnet", "modernbert", "qwen3")
"""An architecture for each kind of forward pass."""


def cpu_settings(dtype: str) -> BackendSettings:
    return BackendSettings.model_validate({"device": "cpu", "dtype": dtype})


FLOAT32 = cpu_settings("float32")


def random_inputs(count: int) -> list[list[int]]:
    numbers = np.random.default_rng(1)
    return [
        numbers.integers(0, len(PIECES), size=numbers.integers(1, POSITIONS + 1)).tolist()
        for _ in range(count)
    ]


def load(directory: Path, settings: BackendSettings = FLOAT32, **model: object) -> TorchBackend:
    """Load a directory; ``model`` are further model settings."""
    return TorchBackend.load(open_files(directory, **model), settings)


def open_files(directory: Path, **model: object) -> ModelFiles:
    """Open the files of a directory."""
    return ModelFiles.open(ModelSettings.model_validate({"name": str(directory), **model}))


def our_vectors(directory: Path, texts: Sequence[str]) -> Vectors:
    """Return the vectors of all texts in one batch, normalized if the files say so."""
    files = open_files(directory)
    end = files.tokenizer_files.truncation
    tokens = load_tokenizer(files).encode(texts, truncate=end).tokens
    vectors = TorchBackend.load(files, FLOAT32).encode(tokens)
    return normalize_rows(vectors) if files.layout.normalizes else vectors


def reference_vectors(directory: Path, texts: Sequence[str]) -> Vectors:
    """Return the vectors of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    vectors: Vectors = model.encode(list(texts), batch_size=len(texts), show_progress_bar=False)
    return vectors


def hidden_states(
    directory: Path,
    inputs: list[list[int]],
    dtype: torch.dtype = torch.float32,
    shared_in: Path | None = None,
) -> NDArray[np.float32]:
    """Return the last hidden states of the packed forward pass, [tokens, width]."""
    forward = PackedForward.load(
        open_files(directory), dtype=dtype, device=torch.device("cpu"), shared_in=shared_in
    )
    with torch.inference_mode():
        hidden: NDArray[np.float32] = forward(TokenBatch.of(inputs)).float().numpy()
    return hidden


def transformers_hidden_states(directory: Path, inputs: list[list[int]]) -> NDArray[np.float32]:
    """Return the last hidden states of transformers, [tokens, width], each input computed alone."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    with torch.inference_mode():
        rows = [model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in inputs]
    hidden: NDArray[np.float32] = torch.cat(rows).numpy()
    return hidden


def assert_same(found: Vectors, expected: Vectors) -> None:
    """Check that the directions and all components agree."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / norms
    assert found.shape == expected.shape
    assert cosines.min() >= 0.99999
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())

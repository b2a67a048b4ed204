"""One model directory encoded by this library and by the sentence-transformers package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedder.backends.torch.backend import TorchBackend
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings

FLOAT32 = BackendSettings(device="cpu", dtype="float32")


def load(directory: Path, settings: BackendSettings = FLOAT32, **model: object) -> TorchBackend:
    """Load a directory; ``model`` are further settings of it."""
    return TorchBackend.load(open_files(directory, **model), settings)


def open_files(directory: Path, **model: object) -> ModelFiles:
    """Read what a directory says."""
    return ModelFiles.open(ModelSettings.model_validate({"name": str(directory), **model}))


def ours(directory: Path, texts: Sequence[str]) -> Vectors:
    """Return the vectors of all texts, computed as one batch; unit ones where the files say so."""
    files = open_files(directory)
    end = files.tokenizer_files.truncation
    tokens = load_tokenizer(files).encode(texts, truncate=end).tokens
    vectors = TorchBackend.load(files, FLOAT32).encode(tokens)
    return normalize_rows(vectors) if files.layout.normalizes else vectors


def theirs(directory: Path, texts: Sequence[str]) -> Vectors:
    """Return the vectors that the sentence-transformers package computes."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    vectors: Vectors = model.encode(list(texts), batch_size=len(texts), show_progress_bar=False)
    return vectors


def assert_same(found: Vectors, expected: Vectors) -> None:
    """Compare directions and every component."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / norms
    assert found.shape == expected.shape
    assert cosines.min() >= 0.99999
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())

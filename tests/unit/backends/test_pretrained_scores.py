"""Scores that transformers computes, beside those of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder.core.pairs import Pair
from embedder.core.types import Truncate
from embedder.inference.loading import load_tokenizer
from tests.tiny_cross_encoders import write_cross_encoder
from tests.unit.backends.parity import load, open_files

PAIRS = [("what is it", text) for text in ("hello world", "a b c " * 60, "x", "hello world")]


@pytest.mark.parametrize("kind", ["modernbert", "qwen3"])
def test_other_architectures_are_computed_by_transformers(tmp_path: Path, kind: str) -> None:
    from sentence_transformers import CrossEncoder

    directory = write_cross_encoder(tmp_path, kind, labels=("one", "two"))
    tokenizer, backend = load_tokenizer(open_files(directory)), load(directory)
    pairs = [Pair(*pair) for pair in PAIRS]
    tokens = tokenizer.encode(pairs, truncate=Truncate.END).tokens

    scores = backend.encode(tokens)

    model = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    expected = model.predict(PAIRS, show_progress_bar=False)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    alone = tokenizer.encode(pairs[1:2], truncate=Truncate.END).tokens
    np.testing.assert_allclose(backend.encode(alone)[0], scores[1], atol=1e-5)
    assert "transformers computes it in padded blocks" in backend.notes[0]

"""A worker answers with a rate or with vectors, and needs nothing of this project."""

from __future__ import annotations

import ast
import base64
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import worker

LIBRARIES = {"sentence_transformers", "torch"}


class Encoder:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        self.calls += 1
        return np.array([[len(text), 0.5] for text in texts], np.float64)


def test_a_rate_counts_every_pass_and_takes_one_at_least() -> None:
    encoder = Encoder()

    answer = worker.answer(encoder, {"texts": ["a", "b"], "seconds": 0.0})

    assert answer["passes"] == encoder.calls == 1
    assert isinstance(answer["texts_per_s"], float)
    assert answer["texts_per_s"] > 0


def test_texts_are_embedded_again_until_the_time_is_over() -> None:
    encoder = Encoder()

    answer = worker.answer(encoder, {"texts": ["a"], "seconds": 0.05})

    assert answer["passes"] == encoder.calls > 10
    assert answer["texts_per_s"] == pytest.approx(encoder.calls / 0.05, rel=0.5)


def test_vectors_come_as_little_endian_float32() -> None:
    answer = worker.answer(Encoder(), {"vectors": ["abc", "d"]})

    rows = np.frombuffer(base64.b64decode(str(answer["vectors"])), "<f4")
    assert answer["width"] == 2
    assert rows.tolist() == [3.0, 0.5, 1.0, 0.5]


def test_it_imports_nothing_but_the_standard_library_and_the_peer() -> None:
    tree = ast.parse(Path(worker.__file__).read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported - sys.stdlib_module_names == LIBRARIES

"""A worker answers with a rate or with vectors, and needs nothing of this project."""

from __future__ import annotations

import ast
import base64
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import worker

LIBRARIES = {"sentence_transformers", "torch"}
PASS_S = 0.125


class Encoder:
    """Counts its calls, each of which takes ``PASS_S`` by its clock."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        self.calls += 1
        return np.array([[len(text), 0.5] for text in texts], np.float64)

    def clock(self) -> float:
        """Return the time that all calls have taken."""
        return self.calls * PASS_S


@pytest.mark.parametrize(("seconds", "passes"), [(0.0, 1), (0.3, 3), (1.0, 8)])
def test_texts_are_embedded_again_until_the_time_is_over_and_once_at_least(
    seconds: float, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder()
    monkeypatch.setattr(time, "perf_counter", encoder.clock)

    answer = worker.answer(encoder, {"texts": ["a", "b"], "seconds": seconds})

    assert answer["passes"] == encoder.calls == passes
    assert answer["texts_per_s"] == 2 / PASS_S


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

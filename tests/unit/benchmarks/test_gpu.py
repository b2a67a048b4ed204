"""The measurement of a GPU runs where little is installed, and compares like with like."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu_peers
from benchmarks.gpu import Found, Row, table
from benchmarks.gpu_ceiling import Ceiling
from benchmarks.gpu_models import SHAPES, Encoder, Model, agreement_of_others
from benchmarks.gpu_peers import BEGIN, END, peer_of
from embedder.backends.precision import min_cosine
from embedder.core.types import TokenBatch

CPU = torch.device("cpu")
ABSENT = ("ray", "faiss", "fastapi", "starlette", "pydantic", "orjson", "sentence_transformers")
BARE = f"""
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv = ["gpu", "--device", "cpu", "--quick"]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.draw("tiny", CPU)


def _batches() -> list[TokenBatch]:
    numbers = np.random.default_rng(3)
    rows = numbers.integers(4, SHAPES["tiny"]["words"], size=(2, 5, 12)).tolist()
    return [TokenBatch.of([[BEGIN, *row, END] for row in batch]) for batch in rows]


def test_it_runs_where_nothing_of_the_service_is_installed() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", BARE], capture_output=True, text=True, check=False, timeout=120
    )

    assert finished.returncode == 0, finished.stderr
    measured = json.loads(finished.stdout.splitlines()[-1])
    (found,) = measured["models"]
    assert found["peer"].startswith("transformers")
    assert found["cosine"] > 0.999
    assert [row["tokens_a_text"] for row in found["rows"]] == [16, 50]
    assert all(min(row["tokens_per_s"]) > 0 for row in found["rows"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_measured_agrees_with_float32_better_than_with_others(
    model: Model, dtype: torch.dtype
) -> None:
    encoder = Encoder.of(model, dtype)

    assert encoder.cosine > 0.999 > encoder.apart
    assert encoder.kernels == "attention in blocks, activation by itself"


@pytest.mark.parametrize("installed", [True, False])
def test_a_peer_computes_the_same_model_on_the_same_tokens(
    model: Model, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    peer = peer_of(model, torch.float32)

    found = peer.encode(_batches())

    assert peer.name.startswith("sentence-transformers" if installed else "transformers")
    exact = np.concatenate([model.exact(batch) for batch in _batches()])
    assert min_cosine(exact, found) > 0.99999


def test_a_text_of_the_peer_has_the_tokens_that_it_stands_for() -> None:
    assert gpu_peers._text([BEGIN, 17, 4, END]) == "17 4"


@pytest.mark.parametrize(
    ("name", "millions"), [("minilm-l6", 22.6), ("bert-base", 108.9), ("bge-large", 334.1)]
)
def test_the_shapes_are_the_published_ones(name: str, millions: float) -> None:
    with torch.device("meta"):
        drawn = Model.draw(name, torch.device("meta"))

    assert drawn.parameters / 1e6 == pytest.approx(millions, abs=0.1)
    linear = sum(rows * columns for rows, columns in drawn.products)
    assert drawn.flop == 2 * linear
    assert 0.4 < linear / drawn.parameters < 0.95


def test_the_ceiling_counts_the_operations_of_all_layers(model: Model) -> None:
    ceiling = Ceiling(model, torch.float32, 64)

    assert 0 < ceiling.teraflops(0.01) < 100
    assert model.flop == 2 * 2 * (4 * 64 * 64 + 2 * 64 * 128)


def test_others_are_all_pairs_of_two_different_rows() -> None:
    rows = np.array([[1, 0], [0, 2], [3, 0]], np.float32)

    assert agreement_of_others(rows) == pytest.approx(1 / 3)


def test_the_table_has_medians_and_what_was_published_where_anything_was() -> None:
    rows = [Row("bert-base", length, 655) for length in (50, 128)]
    for row in rows:
        row.tokens_per_s, row.texts_per_s = [705e3, 1410e3, 2820e3], [1e3, 2e3, 3e3]
        row.teraflops, row.share, row.ratio = [200.0] * 3, [0.4] * 3, [3.0, 5.0, 4.0]
    found = Found("bert-base", 109_000_000, "attention in one call", 0.99991, 0.5, "a peer", rows)

    heading, published, other, *notes = table([found]).splitlines()

    assert len(heading) == len(published) == len(other)
    assert published.split() == [
        *("bert-base", "50", "655", "2000", "1410.0", "705.0–2820.0"),
        *("200.0", "0.40", "4.00", "1.00"),
    ]
    assert other.split()[-1] == "-"
    assert any("H200" in note for note in notes)

"""The measurement of a GPU runs where little is installed, and compares like with like."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

from benchmarks import gpu, gpu_peers
from benchmarks.gpu_ceiling import Ceiling
from benchmarks.gpu_models import Encoder, Model, agreement_of_others, shape_of
from benchmarks.gpu_peers import BEGIN, END, peer_of
from embedder.backends.precision import min_cosine
from embedder.core.types import TokenBatch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.draw("tiny", CPU)


@pytest.fixture(scope="module")
def decoder() -> Model:
    return Model.draw("tiny-qwen3", CPU)


def _batches() -> list[TokenBatch]:
    numbers = np.random.default_rng(3)
    rows = numbers.integers(4, shape_of("tiny")["words"], size=(2, 5, 12)).tolist()
    return [TokenBatch.of([[BEGIN, *row, END] for row in batch]) for batch in rows]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_measured_encoder_agrees_with_float32_better_than_with_others(
    model: Model, dtype: torch.dtype
) -> None:
    encoder = Encoder.of(model, dtype)

    assert encoder.cosine > 0.999 > encoder.apart
    assert encoder.kernels == "attention in blocks, activation by itself"


def test_a_decoder_is_measured_as_the_service_computes_it(decoder: Model) -> None:
    encoder = Encoder.of(decoder, torch.float32)

    assert encoder.cosine > 0.99999 > encoder.apart
    assert encoder.kernels == "layers by transformers, in blocks"


@pytest.mark.parametrize("name", ["model", "decoder"])
@pytest.mark.parametrize("installed", [True, False])
def test_a_peer_computes_the_same_model_on_the_same_tokens(
    name: str, installed: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(name)
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
    ("name", "millions"),
    [
        ("minilm-l6", 22.6),
        ("bert-base", 108.9),
        ("bge-large", 334.1),
        ("bge-m3", 566.7),
        ("qwen3-0.6b", 595.8),
    ],
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


def test_the_whole_measurement_runs_and_a_model_that_fails_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    quick = ["--device", "cpu", "--dtype", "float32", "--quick"]

    assert gpu.main(quick) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [model["model"] for model in printed["models"]] == ["tiny", "tiny-qwen3"]
    assert all(len(row["share"]) == 2 for model in printed["models"] for row in model["rows"])

    draw = Model.draw
    monkeypatch.setattr(
        Model, "draw", lambda name, device: draw({"tiny-qwen3": name}[name], device)
    )
    assert gpu.main([*quick, "--minutes", "0"]) == 1
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["failed"] == ["tiny"]
    assert [len(row["share"]) for row in printed["models"][0]["rows"]] == [1, 1]


def test_rows_share_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("benchmarks.gpu.time.perf_counter", lambda: now[0])
    budget = gpu._Budget(60, 4)

    assert budget.row_ends() == 115
    now[0] = 130  # the row took longer than its share
    assert budget.row_ends() == 140
    budget.skip_to(1, 3)  # one model of three rows is done
    assert budget.row_ends() == 160
    now[0] = 200
    assert budget.row_ends() == 200

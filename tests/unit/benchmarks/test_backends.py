"""What the comparison of backends counts, compares and shows, without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import backends
from benchmarks.backends import Row, available, correlate, main, measure, settings, table
from embedder.core.errors import MissingExtra
from embedder.core.types import Vectors

EXACT, NEAR = ("torch", "float32"), ("onnx", "int8")


class Clock:
    """A clock that an embedding moves on by as many seconds as it is slow."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _along(texts: Sequence[str]) -> Vectors:
    return np.array([[1.0, len(text)] for text in texts], np.float32)


def _across(texts: Sequence[str]) -> Vectors:
    return np.array([[1.0, -len(text)] for text in texts], np.float32)


def test_every_round_but_the_first_counts() -> None:
    clock, seen = Clock(), list[tuple[str, list[str]]]()

    def embed(name: str, seconds: Iterator[float], texts: Sequence[str]) -> Vectors:
        seen.append((name, list(texts)))
        clock.now += next(seconds)
        return _along(texts)

    quick, slow = iter([9.0, 1.0, 0.5]), iter([9.0, 2.0, 4.0])
    rows = measure(
        {EXACT: lambda texts: embed("slow", slow, texts), NEAR: lambda t: embed("quick", quick, t)},
        [["a", "b"], ["c", "d"], ["e", "f"]],
        clock,
    )

    assert [row.texts_per_s for row in rows] == [[1.0, 0.5], [2.0, 4.0]]
    assert [name for name, _ in seen] == ["slow", "quick"] * 3
    assert [texts[0] for _, texts in seen] == ["a", "a", "c", "c", "e", "e"]


def test_the_least_cosine_is_that_to_the_first_contender() -> None:
    texts = ["", "a", "aa"]

    rows = measure({EXACT: _along, NEAR: _across}, [texts, texts])

    assert rows[0].cosine == pytest.approx(1)
    assert rows[1].cosine == pytest.approx((1 - 4) / (1 + 4))


def test_correlations_are_those_of_each_contenders_own_cosines(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    pairs = [("a", "a", 5), ("a", "aaa", 3), ("a", "a" * 9, 1)]
    path.write_text("".join(f"g\tf\ty\t0\t{score}\t{a}\t{b}\n" for a, b, score in pairs))
    rows = [Row(*EXACT), Row(*NEAR)]

    correlate({EXACT: _along, NEAR: lambda texts: _along(texts)[::-1]}, rows, path)

    assert rows[0].spearman == pytest.approx(1)
    assert rows[1].spearman != pytest.approx(1)


def _row(name: tuple[str, str], *rates: float) -> Row:
    return Row(*name, cosine=0.99, load_s=1.26, peak_bytes=300 * 2**20, texts_per_s=list(rates))


def test_the_table_shows_medians_spreads_and_ratios_to_the_first() -> None:
    lines = table([_row(EXACT, 100, 90, 120), _row(NEAR, 250, 240, 300)]).splitlines()

    assert lines[2].split() == ["onnx", "int8", "250", "240–300", "2.50", "0.990000", "1.3", "300"]
    assert len({len(line) for line in lines}) == 1


def test_a_table_of_markdown_has_as_many_cells_in_every_line() -> None:
    lines = table([_row(EXACT, 100), _row(NEAR, 250)], markdown=True).splitlines()

    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {10}
    assert "| onnx | int8 | 250 |" in lines[3]


class Generator:
    """A generator whose backend is not installed where it is onnx."""

    def __init__(self, settings: Any) -> None:
        if settings.backend.name == "onnx":
            raise MissingExtra("backend.name 'onnx'", "onnxruntime", "onnx")

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> Vectors:
        return _along(texts)


def test_what_cannot_run_here_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends, "EmbeddingGenerator", Generator)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)

    found = list(available())
    lines = capsys.readouterr().err.splitlines()

    assert found == [("torch", "float32")]
    assert len(lines) == len(backends.CONTENDERS) - 1
    assert "torch bfloat16 is left out: the processor has no bfloat16" in lines
    assert any("pip install 'embedder[onnx]'" in line for line in lines)


def test_no_contender_has_a_cache_or_a_budget_of_its_own() -> None:
    chosen = [settings(*name) for name in backends.CONTENDERS]

    assert {one.cache.max_bytes for one in chosen} == {0}
    assert {one.batching.max_tokens for one in chosen} == {backends.BUDGET}
    assert {one.backend.device for one in chosen} == {"cpu"}


def test_a_run_ends_with_its_figures_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = {"load_s": 2.0, "peak_bytes": 2.0**20}
    monkeypatch.setattr(backends, "EmbeddingGenerator", Generator)
    monkeypatch.setattr(backends, "_load_in_a_fresh_process", lambda _: load)

    status = main(["--count", "3", "--rounds", "2"])
    document = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert status == 0
    assert document["count"] == 3
    assert document["rows"][0]["load_s"] == 2.0
    assert len(document["rows"][0]["texts_per_s"]) == 2


def test_a_folder_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data", "/no/such/folder"])

    assert "no such folder" in capsys.readouterr().err

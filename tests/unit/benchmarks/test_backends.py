"""The comparison of backends counts rounds and compares vectors, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import backends
from benchmarks.backends import Row, correlate, measure, settings
from embedder.core.types import Vectors
from tests.unit.manual_clock import ManualClock

EXACT, NEAR = ("torch", "float32"), ("onnx", "int8")


def _along(texts: Sequence[str]) -> Vectors:
    return np.array([[1.0, len(text)] for text in texts], np.float32)


def _across(texts: Sequence[str]) -> Vectors:
    return np.array([[1.0, -len(text)] for text in texts], np.float32)


def test_every_round_but_the_first_counts() -> None:
    clock, seen = ManualClock(), list[tuple[str, list[str]]]()

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


def test_no_contender_has_a_cache_or_a_budget_of_its_own() -> None:
    chosen = [settings(*name) for name in backends.CONTENDERS]

    assert {one.cache.max_bytes for one in chosen} == {0}
    assert {one.batching.max_tokens for one in chosen} == {backends.BUDGET}
    assert {one.backend.device for one in chosen} == {"cpu"}

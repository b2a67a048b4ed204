"""Pictures are drawn of what there is, and none of what there is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks.bench.plan import BULK, LOADS, SINGLE
from benchmarks.bench.plots import draw, latency, stages, throughput
from benchmarks.bench.results import SERVICE, Results
from tests.unit.benchmarks.bench.rows import STAGES_MS, full


@pytest.fixture
def results() -> Results:
    whole = full()
    for loop in (*SINGLE, BULK):
        row = whole.row(SERVICE, loop.name)
        row.rounds = [replace(figures, stages_ms=STAGES_MS) for figures in row.rounds]
    return whole


def test_every_picture_is_written(results: Results, tmp_path: Path) -> None:
    written = draw(results, tmp_path)

    assert [path.name for path in written] == ["throughput.png", "latency.png", "stages.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert draw(Results(), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_throughput_is_that_of_both_servers_beside_the_bare_encoder(results: Results) -> None:
    axes = Figure().add_subplot()

    assert throughput(axes, results)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert sorted(labels) == ["bare encoder", "infinity", "service"]


def test_latency_has_a_point_for_each_load(results: Results) -> None:
    axes = Figure().add_subplot()

    assert latency(axes, results)
    (first, *others) = axes.get_lines()
    assert list(first.get_xdata()) == list(LOADS)  # type: ignore[arg-type]
    assert len(others) == 5, "three percentiles of two servers"


def test_the_stages_of_a_bar_add_up_to_one(results: Results) -> None:
    axes = Figure().add_subplot()

    assert stages(axes, results)
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert len(heights) == len(STAGES_MS) * 5
    assert sum(heights) == pytest.approx(5.0)

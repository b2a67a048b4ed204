"""The benchmark of the index compares, draws and reads vectors, on a few points."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import Line, ratio, table
from benchmarks.index_loads import clustered
from benchmarks.index_mnist import read_images, read_neighbours
from tests.unit.manual_clock import ManualClock


def test_the_best_of_each_counts() -> None:
    clock = ManualClock()
    ours, theirs = iter([9.0] + [2.0] * 9), iter([1.0] + [5.0] * 9)

    def take(seconds: float) -> None:
        clock.now += seconds

    share = ratio(lambda: take(next(ours)), lambda: take(next(theirs)), clock)

    assert share == 0.5


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        (Line("a", 1.0, "s"), True),
        (Line("a", 1.0, "s", at_least=1.0), True),
        (Line("a", 0.9, "s", at_least=1.0), False),
        (Line("a", 2.1, "s", at_most=2.0), False),
        (Line("a", 2.0, "s", at_most=2.0), True),
    ],
)
def test_a_line_on_the_wrong_side_is_missed(line: Line, ok: bool) -> None:
    assert line.ok is ok
    assert ("MISSED" in table([line])) is not ok


def test_the_same_centres_are_behind_every_seed() -> None:
    first, second = clustered(2000, 32, 1), clustered(1, 32, 2)
    distances = np.linalg.norm(first - second, axis=1)

    assert distances.min() < 0.8 * np.median(distances)
    assert (clustered(5, 32, 1) == clustered(5, 32, 1)).all()


def test_files_of_both_formats_are_read(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8)
    head = np.array([2051, 3, 2, 2], ">i4").tobytes()
    (tmp_path / "a-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    (tmp_path / "a.ivecs").write_bytes(np.array([[2, 5, 6], [2, 7, 8]], "<i4").tobytes())

    assert (
        read_images(tmp_path / "a-idx3-ubyte.gz").tolist()
        == pixels.reshape(3, 4).astype(float).tolist()
    )
    assert read_neighbours(tmp_path / "a.ivecs").tolist() == [[5, 6], [7, 8]]

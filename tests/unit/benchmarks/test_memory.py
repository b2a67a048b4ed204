"""An estimate of memory that is too far off fails the run."""

from __future__ import annotations

import pytest

from benchmarks.memory import Line


@pytest.mark.parametrize(
    ("estimated", "measured", "ok"),
    [(100, 100, True), (125, 100, True), (126, 100, False), (75, 100, True), (74, 100, False)],
)
def test_an_estimate_may_be_off_by_a_quarter(estimated: int, measured: int, ok: bool) -> None:
    line = Line("m", "float32", 512, estimated, measured)

    assert line.ok is ok

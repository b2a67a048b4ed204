"""The command line: every axis by default, and one short round when that is asked for."""

from __future__ import annotations

import pytest

from benchmarks.scaling.axes import AXES
from benchmarks.scaling.options import parse


def test_all_axes_are_measured_by_default() -> None:
    options = parse([], [*AXES])

    assert options.axes == ("length", "batch", "concurrency", "replicas", "hits", "size")
    assert options.rounds == 3


def test_axes_are_chosen_with_commas_between() -> None:
    assert parse(["--axes", "size, batch"], [*AXES]).axes == ("size", "batch")


@pytest.mark.parametrize("given", ["length,nothing", ","])
def test_an_axis_that_there_is_not_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--axes", given], [*AXES])

    assert "the axes are length, batch" in capsys.readouterr().err


def test_quick_is_one_round_that_is_shorter() -> None:
    quick, whole = parse(["--quick"], [*AXES]), parse([], [*AXES])

    assert quick.rounds == 1
    assert quick.axes == whole.axes
    assert quick.seconds < whole.seconds
    assert quick.in_process_s < whole.in_process_s
    assert quick.warm_up_s < whole.warm_up_s
    assert (quick.choose(1, 2), whole.choose(1, 2)) == (2, 1)

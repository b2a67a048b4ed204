"""A picture is drawn of each axis that was measured, with points beside the line of the law."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks.scaling.plots import draw, picture
from tests.unit.benchmarks.scaling.outcomes import failed, measured


def test_each_axis_that_was_measured_has_a_picture(tmp_path: Path) -> None:
    written = draw([measured("a"), failed(), measured("b", doublings=False)], tmp_path)

    assert [path.name for path in written] == ["scaling-a.png", "scaling-b.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert sorted(tmp_path.iterdir()) == written


@pytest.mark.parametrize(("doublings", "scale"), [(True, "log"), (False, "linear")])
def test_points_come_before_their_law_in_the_legend(doublings: bool, scale: str) -> None:
    axes = Figure().add_subplot()

    picture(axes, measured(doublings=doublings))

    labels = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    law = "y = k\nk = 100 ms"
    assert labels == ["one measured", law, "other measured", law]
    assert (axes.get_xscale(), axes.get_yscale()) == (scale, scale)


def test_points_are_medians_and_the_law_goes_from_the_first_to_the_last() -> None:
    axes = Figure().add_subplot()

    picture(axes, measured())

    lines = {str(drawn.get_label()): drawn for drawn in axes.get_lines()}
    assert list(lines["one measured"].get_ydata()) == [100.0, 125.0, 100.0]  # type: ignore[arg-type]
    law = lines["y = k\nk = 100 ms"]
    places = list(law.get_xdata())  # type: ignore[arg-type]
    assert (places[0], places[-1]) == pytest.approx((1.0, 4.0))
    assert set(law.get_ydata()) == {100.0}  # type: ignore[arg-type]


def test_bars_reach_from_the_least_to_the_most_of_the_rounds() -> None:
    axes = Figure().add_subplot()

    picture(axes, measured())

    (bars, *_) = axes.collections
    first = bars.get_segments()[0]  # type: ignore[attr-defined]
    assert [end[1] for end in first] == pytest.approx([90.0, 120.0])


def test_between_whole_places_there_is_no_tick() -> None:
    axes = Figure().add_subplot()

    picture(axes, measured(doublings=False))

    assert all(tick == int(tick) for tick in axes.get_xticks())

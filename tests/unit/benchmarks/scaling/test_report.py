"""The table has a row for each point, and the document everything in it."""

from __future__ import annotations

import json

from benchmarks.bench.report import line
from benchmarks.scaling.report import document, table
from benchmarks.scaling.running import Outcome
from benchmarks.scaling.series import series
from tests.unit.benchmarks.scaling.outcomes import axis, failed, law, measured


def test_a_row_has_the_median_the_spread_the_law_and_the_deviation() -> None:
    title, head, *rows = table(measured()).splitlines()

    assert title == "first: all about first"
    assert head.split() == ["things", "ms", "a", "thing", "spread", "law", "deviation"]
    assert rows[0].split() == ["one", "1", "100", "90.0–120", "100", "+0.0", "%"]
    assert rows[4].split() == ["other", "2", "125", "125–125", "100", "+25.0", "%"]
    assert len({len(row) for row in [head, *rows[:6]]}) == 1, "columns are below each other"
    assert [row.strip().partition(":")[0] for row in rows[6:]] == ["one", "other"]


def test_one_round_has_no_spread() -> None:
    alone = series("", [(1, [100.0])], lambda xs, ys: law(100.0))

    row = table(Outcome(axis("first"), (alone,))).splitlines()[2]
    assert row.split() == ["1", "100", "100", "+0.0", "%"]


def test_an_axis_that_failed_says_why() -> None:
    assert table(failed()).splitlines() == [
        "second: all about second",
        "  not measured: it broke",
    ]


def test_the_document_has_every_axis_point_and_parameter() -> None:
    whole = json.loads(line(document([measured(), failed()], {"rounds": 3})))

    first, second = whole["axes"]
    assert whole["rounds"] == 3
    assert (second["series"], second["reason"]) == ([], "it broke")
    one = first["series"][0]
    assert one["parameters"] == {"k": {"value": 100.0, "unit": "ms"}}
    assert one["largest_deviation"] == 0.25
    assert one["points"][0] == {
        "x": 1,
        "rounds": [90.0, 100.0, 120.0],
        "measured": 100.0,
        "predicted": 100.0,
        "deviation": 0.0,
    }

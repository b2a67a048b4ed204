"""The table has a line for everything that was asked for, and the JSON line is one."""

from __future__ import annotations

import json

from benchmarks.bench import report
from benchmarks.bench.figures import Figures
from benchmarks.bench.plan import MIXED, SENTENCES, SINGLE, open_name
from benchmarks.bench.results import EMBEDDER, INFINITY, SERVICE, Results
from benchmarks.bench.targets import verdicts
from tests.unit.benchmarks.bench.rows import add, full


def _line(results: Results, measurement: str, contender: str) -> str:
    shown, found = "", {}
    for line in report.table(results, verdicts(results)).splitlines()[1:]:
        shown = line[:36].strip() or shown
        found[shown, line[36:63].strip()] = line[63:]
    return found[measurement, contender]


def test_a_row_has_medians_the_spread_and_its_targets() -> None:
    line = _line(full(), SENTENCES, EMBEDDER)

    assert line.split()[:3] == ["550.0", "300–800", "0.75"]
    assert line.endswith("≥ 2.5 × sentence-transformers: 3.50; ≥ 0.7 of the ceiling: 0.75")


def test_a_target_that_is_missed_is_marked() -> None:
    assert _line(full(), MIXED, EMBEDDER).endswith("≥ 0.6 of the ceiling: 0.55 MISSED")


def test_who_was_not_measured_is_named_with_the_reason() -> None:
    results = full()
    results.row("a peer", "start").reason = "not installed: no such release"

    assert _line(results, "start", "a peer") == "not measured: not installed: no such release"


def test_who_broke_after_some_rounds_keeps_them_and_says_why() -> None:
    results = full()
    results.row(INFINITY, SINGLE[1].name).reason = "it ended"

    line = _line(results, SINGLE[1].name, INFINITY)

    assert line.split()[0] == "75.0"
    assert line.endswith("stopped: it ended")


def test_errors_are_counted_by_status_over_all_rounds() -> None:
    results = full()
    row = results.row(SERVICE, SINGLE[3].name)
    row.rounds += [Figures(1.0, statuses={"200": 1, "429": 2}), Figures(1.0, statuses={"429": 3})]
    row.rounds.append(Figures(1.0, statuses={"503": 1}))

    assert "429:5 503:1" in _line(results, SINGLE[3].name, SERVICE)
    assert row.errors == {"429": 5, "503": 1}


def test_an_open_loop_shows_what_was_due_beside_what_was_answered() -> None:
    assert _line(full(), open_name(1.2), SERVICE).split()[:4] == ["90.0", "of", "100", "due"]


def test_cosines_stand_beside_every_speed_of_a_contender() -> None:
    results = full()

    assert "0.999870, 0.999950" in _line(results, SINGLE[0].name, SERVICE)
    assert "0.9998" not in _line(results, "HTTP, no-op, c=32", SERVICE), "which embeds nothing"


def test_rows_of_one_measurement_stand_beneath_each_other() -> None:
    results = Results()
    add(results, "a", "first", 1.0)
    add(results, "a", "second", 1.0)
    add(results, "b", "first", 1.0)

    assert [(row.measurement, row.contender) for row in results] == [
        ("first", "a"),
        ("first", "b"),
        ("second", "a"),
    ]


def test_the_document_is_one_line_of_json_without_what_json_has_not() -> None:
    results = full()
    add(results, SERVICE, "odd", float("nan"))
    whole = report.document(results, verdicts(results), {"seed": 7})

    line = report.line(whole)
    read = json.loads(line)

    assert "\n" not in line
    assert read["seed"] == 7
    assert read["rows"][-1]["rounds"][0]["per_s"] is None
    assert read["cosines"] == {SERVICE: {"least": 0.99987, "mean": 0.99995}}
    assert {"target": "≥ 0.6 of the ceiling", "reached": False}.items() <= read["targets"][
        2
    ].items()

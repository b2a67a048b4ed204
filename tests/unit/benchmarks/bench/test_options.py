"""The command line: everything by default, and one short round when that is asked for."""

from __future__ import annotations

import pytest

from benchmarks.bench.options import parse
from benchmarks.bench.results import CONTENDERS, INFINITY, SERVICE


def test_all_contenders_are_measured_by_default() -> None:
    options = parse([])

    assert options.only == tuple(CONTENDERS)
    assert options.rounds > 1
    assert options.open_s == 2.5 * options.seconds


def test_a_subset_is_one_of_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--only", INFINITY, SERVICE]).only == (INFINITY, SERVICE)
    with pytest.raises(SystemExit):
        parse(["--only", "nobody"])
    assert "nobody" in capsys.readouterr().err


def test_quick_is_one_round_of_everything_that_is_shorter_than_any_other() -> None:
    quick, whole = parse(["--quick"]), parse([])

    assert quick.rounds == 1
    assert quick.only == whole.only
    assert quick.count < whole.count
    assert quick.seconds < whole.seconds
    assert quick.open_s < whole.open_s
    assert quick.warm_up_s < whole.warm_up_s

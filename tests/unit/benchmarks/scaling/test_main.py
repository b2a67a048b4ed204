"""A run writes what it found, ends with a line of JSON, and its status tells of failures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.scaling import __main__ as scaling
from tests.unit.benchmarks.scaling.outcomes import axis, flat_series


def test_a_run_of_axes_that_work_ends_with_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "AXES", {"good": axis("good", flat_series())})

    assert scaling.main(["--results", str(tmp_path / "new")]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last)["axes"][0]["axis"] == "good"
    assert (tmp_path / "new" / "scaling.json").read_text() == f"{last}\n"
    assert (tmp_path / "new" / "scaling-good.png").exists()


def test_an_axis_that_fails_ends_it_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = {"bad": axis("bad", error=OSError("gone")), "good": axis("good", flat_series())}
    monkeypatch.setattr(scaling, "AXES", axes)

    assert scaling.main(["--results", str(tmp_path)]) == 1

    shown = capsys.readouterr().out
    assert "not measured: OSError: gone" in shown
    assert "largest deviation +25.0 % at 2" in shown


@pytest.mark.parametrize(("load", "warned"), [(0.4, False), (0.6, True)])
def test_a_busy_machine_is_warned_of(
    load: float,
    warned: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "AXES", {"good": axis("good", flat_series())})
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))

    scaling.main(["--results", str(tmp_path)])

    captured = capsys.readouterr()
    assert ("the machine is busy" in captured.err) is warned
    assert f"'load_before': {load}" in captured.out

"""``embedder monitor``: the list of panels and alerts with data, and the refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.cli import main
from deployments.operations.monitoring.prometheus import Prometheus


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with two panels and an alert."""
    panels = [
        {"title": "One", "expr": "ray_one{$service}"},
        {"title": "Two", "expr": "ray_two{$service}", "only_with": "two machines"},
    ]
    rules = [{"alert": "Three", "expr": "ray_three > ray_four", "annotations": {}}]
    rows = [{"title": "Row", "panels": panels}]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"rows": rows}))
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"rules": rules}]}))
    return tmp_path


def _check(monkeypatch: pytest.MonkeyPatch, files: Path, with_data: set[str]) -> int:
    def query(self: Prometheus, expression: str) -> list[float]:
        return [0.0] if expression in with_data else []

    monkeypatch.setattr(Prometheus, "query", query)
    return main(["monitor", "--check", "--files", str(files)])


def test_the_check_lists_what_has_data_and_what_needs_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    assert _check(monkeypatch, files, {"ray_one", "ray_three", "ray_four"}) == 0

    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(rest.split()) for _, rest in lines[:-1]] == [
        "Row: One data",
        "Row: Two none: only with two machines",
        "Three data",
    ]
    assert " ".join(lines[-1]) == "2 of 3 have data, 0 lack it"


def test_the_check_fails_where_a_metric_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    assert _check(monkeypatch, files, {"ray_one", "ray_three"}) == 1

    assert "NO DATA: ray_four" in capsys.readouterr().out


def test_nothing_is_started_without_a_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    monkeypatch.setattr("deployments.commands.connecting.candidates", list)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    assert main(["monitor", "--files", str(files)]) == 1
    assert "embedder serve" in capsys.readouterr().err


def test_a_service_of_another_machine_is_watched_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    monkeypatch.setattr("deployments.commands.connecting.candidates", list)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.77:6379")

    assert main(["monitor", "--files", str(files)]) == 1
    assert "192.0.2.77:6379: run this command on the head" in capsys.readouterr().err

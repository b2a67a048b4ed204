"""What the files say must have data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.operations.monitoring.expressions import (
    Expression,
    alert_expressions,
    panel_expressions,
)
from embedder.core.errors import ConfigurationError


def test_a_panel_is_queried_for_all_services_and_for_some_minutes(tmp_path: Path) -> None:
    panel = {"title": "Rate", "expr": "sum(rate(ray_a_total{$service}[$window]))"}
    pooled = {"title": "Pool", "expr": "ray_b{$service}", "only_with": "pools"}
    rows = [{"title": "Row", "panels": [panel, pooled]}]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"rows": rows}))

    assert list(panel_expressions(tmp_path)) == [
        Expression("panel", "Row: Rate", ("sum(rate(ray_a_total[5m]))",)),
        Expression("panel", "Row: Pool", ("ray_b",), "pools"),
    ]


def test_an_alert_needs_each_of_its_metrics_once(tmp_path: Path) -> None:
    expression = 'ray_a{b="c"} > 1 unless sum(ray_d_total) > up{job="ray"} and ray_a > 0'
    rules = [
        {"alert": "First", "expr": expression, "annotations": {}},
        {"alert": "Second", "expr": "DCGM_FI_X > 0", "annotations": {"only_with": "GPUs"}},
    ]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"rules": rules}]}))

    assert list(alert_expressions(tmp_path)) == [
        Expression("alert", "First", ("ray_a", "ray_d_total", "up")),
        Expression("alert", "Second", ("DCGM_FI_X",), "GPUs"),
    ]


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"panels.yml: No such file.*--files"):
        list(panel_expressions(tmp_path))

"""The dashboard and the alert rules name metrics that exist, and Prometheus accepts its files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from deployments.ingress.errors.responses import INTERNAL_ERROR
from deployments.ingress.errors.statuses import STATUSES
from deployments.metrics.catalogue import CATALOGUE
from deployments.operations.monitoring.dashboard import DASHBOARD_FILE, dashboard_json
from deployments.operations.monitoring.expressions import (
    METRIC,
    PANELS_FILE,
    RULES_FILE,
    read_document,
)

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "monitoring"
PANELS: dict[str, Any] = read_document(FOLDER, PANELS_FILE)
RULES: list[dict[str, Any]] = [
    rule for group in read_document(FOLDER, RULES_FILE)["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / DASHBOARD_FILE).read_text())
EXPRESSIONS = {
    **{panel["title"]: panel["expr"] for row in PANELS["rows"] for panel in row["panels"]},
    **{rule["alert"]: rule["expr"] for rule in RULES},
}
OURS = {series: metric for metric in CATALOGUE for series in metric.series}
EVERYWHERE = {"SessionName", "deployment", "replica", "application", "le"}
"""Labels that Ray and Serve add, and that of a bucket."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, a program of Prometheus, is not installed"
)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_metrics_that_are_exported(name: str, names_of_ray: set[str]) -> None:
    foreign = {metric for metric in METRIC.findall(EXPRESSIONS[name]) if metric not in OURS}

    assert {metric for metric in foreign if metric.startswith("ray_embedder_")} == set()
    of_ray = {metric for metric in foreign if metric.startswith("ray_")}
    assert {metric.removeprefix("ray_") for metric in of_ray} - names_of_ray == set()


def test_an_expression_groups_and_matches_by_labels_that_its_metrics_have() -> None:
    for name, expression in EXPRESSIONS.items():
        used = re.findall(r"(\w+)(?:\{([^}]*)\})?", expression)
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
        metrics = [(OURS[metric], matchers) for metric, matchers in used if metric in OURS]
        for metric, matchers in metrics:
            matched = set(re.findall(r"(\w+)(?:=|!)", re.sub(r'"[^"]*"', "", matchers)))
            assert matched <= EVERYWHERE | set(metric.labels), name
        if metrics:
            known = {label for metric, _ in metrics for label in metric.labels}
            assert grouped <= EVERYWHERE | known, name


@pytest.fixture(scope="module")
def names_of_ray() -> set[str]:
    """Return the exported names of the metrics that Ray and Serve define."""
    package = Path(ray.__file__).parent
    files = [
        *(package / "serve" / "_private").glob("*.py"),
        package / "dashboard" / "modules" / "reporter" / "reporter_agent.py",
    ]
    names = {
        name for file in files for name in re.findall(r'"((?:serve|node)_\w+)"', file.read_text())
    }
    return names | {f"{name.removesuffix('_total')}_total" for name in names}


def test_the_dashboard_is_the_one_that_the_panels_make() -> None:
    assert (FOLDER / DASHBOARD_FILE).read_text() == dashboard_json(PANELS), (
        "run python -m deployments.operations.monitoring.dashboard"
    )


def test_panels_have_their_own_ids_and_places() -> None:
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_a_panel_shows_the_chosen_services_alone() -> None:
    for row in PANELS["rows"]:
        for panel in row["panels"]:
            metrics = METRIC.findall(panel["expr"])
            assert panel["expr"].count("{$service}") == len(metrics), panel["title"]
    queries = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    assert not any("$service" in query or "$window" in query for query in queries)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_links_to_its_section(rule: dict[str, Any]) -> None:
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["alert"] in headings
    assert section == rule["alert"].lower()
    assert rule["annotations"]["summary"]


def test_each_section_of_the_page_is_about_a_rule() -> None:
    sections = re.findall(r"^### (.*)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)

    assert sections == [rule["alert"] for rule in RULES]


def test_the_error_ratio_counts_the_errors_that_are_not_to_be_repeated() -> None:
    (expression,) = [rule["expr"] for rule in RULES if rule["alert"] == "HighErrorRatio"]
    (codes,) = re.findall(r'code=~"([^"]*)"', expression)
    final = {
        INTERNAL_ERROR if status.http == 500 else error.code
        for error, status in STATUSES.items()
        if status.http >= 500 and not status.retry
    }

    assert set(codes.split("|")) == final


def test_each_rule_is_tested_where_it_fires_and_where_it_does_not() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]

    assert [test["name"] for test in tests] == [rule["alert"] for rule in RULES]
    for test in tests:
        quiet, firing = test["promql_expr_test"]
        assert "exp_samples" not in quiet
        fired = {sample["labels"] for sample in firing["exp_samples"]}
        assert fired == {f'{{alertname="{test["name"]}"}}'}


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=" ".join,
)
def test_prometheus_accepts(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_the_dashboard_and_the_datasource() -> None:
    (sources, providers) = (
        yaml.safe_load((FOLDER / "grafana" / name).read_text())
        for name in ("datasources/prometheus.yml", "dashboards/embedder.yml")
    )

    assert [source["name"] for source in sources["datasources"]] == ["Prometheus"]
    paths = [provider["options"]["path"] for provider in providers["providers"]]
    assert paths[0] == "${MONITORING}"
    named = re.findall(r"\$\{(\w+)\}", str([sources, providers]))
    assert all(f"{name}=" in (ROOT / "docs" / "monitoring.md").read_text() for name in named)

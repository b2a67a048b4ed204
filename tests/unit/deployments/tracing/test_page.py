"""The page about traces names every span and attribute of the code, and its settings are valid."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from deployments.tracing.configuration import TRACE_EXPORTER, check_tracing, with_exporter
from tests.readme import fenced

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "tracing.md").read_text()
CODE = "\n".join(
    path.read_text()
    for package in ("embedder", "deployments")
    for path in sorted((ROOT / package).rglob("*.py"))
)
SERVE = {"METHOD ROUTE"}
"""The name of the span that Serve starts."""


def _rows() -> dict[str, str]:
    """Return the row of each span in the table of the page, by its name."""
    table = PAGE.partition("## Spans")[2].partition("\n\nEvery span")[0]
    return {row[1]: row[0] for row in re.finditer(r"^\| `([^`]+)` \|.*$", table, re.MULTILINE)}


def test_the_table_has_the_spans_of_the_code() -> None:
    recorded = re.findall(r"\b(?:step|record)\(\s*\"([^\"]+)\"", CODE)

    assert {*_rows()} == {*recorded} | SERVE


def test_the_table_has_the_attributes_of_the_code() -> None:
    calls = re.findall(r"\bspan\.set\(([^()]*(?:\([^()]*\)[^()]*)*)\)", CODE)
    attributes = {name for call in calls for name in re.findall(r"(\w+)=", call)}
    named = {name for row in _rows().values() for name in re.findall(r"`([\w.]+)`", row)}

    assert len(calls) > 5
    assert attributes <= named


def test_the_settings_of_the_page_are_valid() -> None:
    (block,) = fenced(PAGE, "yaml")
    tracing = yaml.safe_load(block)["tracing_config"]
    check_tracing(with_exporter(tracing))

    assert f"`{TRACE_EXPORTER}`" in PAGE

"""The expressions of the dashboard's panels and of the alert rules, read from files.

Expressions of ``panels.yml`` have placeholders: `SERVICE`, the matcher of the chosen services,
and `WINDOW`, the range of a rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from embedder.core.errors import ConfigurationError

PANELS_FILE, RULES_FILE, CONFIG_FILE = "panels.yml", "alerts.yml", "prometheus.yml"

SERVICE, WINDOW = "$service", "$window"

CHECKED_WINDOW = "5m"
"""The range of rates in a check: a short load is in it for some minutes."""

METRIC = re.compile(r"\b(?:up\b|(?:ray|DCGM)_\w+)")
"""The name of a metric in an expression."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Queries which all must return data for a panel or an alert rule to work.

    ``only_with`` says what a service must have for them to return data, None if nothing.
    """

    kind: str
    name: str
    queries: tuple[str, ...]
    only_with: str | None = None


def read_document(folder: Path, name: str) -> Any:
    """Return the content of one of the files.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        return yaml.safe_load((folder / name).read_text())
    except OSError as error:
        raise ConfigurationError(
            f"{folder / name}: {error.strerror}; state the folder 'monitoring' of the checkout by "
            "--files"
        ) from None


def panel_expressions(folder: Path) -> Iterator[Expression]:
    """Yield the expression of each panel, for the series of all services.

    Raises:
        ConfigurationError: as `read_document`.
    """
    for row in read_document(folder, PANELS_FILE)["rows"]:
        for panel in row["panels"]:
            query = panel["expr"].replace(f"{{{SERVICE}}}", "").replace(WINDOW, CHECKED_WINDOW)
            name = f"{row['title']}: {panel['title']}"
            yield Expression("panel", name, (query,), panel.get("only_with"))


def alert_expressions(folder: Path) -> Iterator[Expression]:
    """Yield the metrics of each alert rule: while nothing is wrong, the rule itself has no data.

    Raises:
        ConfigurationError: as `read_document`.
    """
    for group in read_document(folder, RULES_FILE)["groups"]:
        for rule in group["rules"]:
            metrics = tuple(dict.fromkeys(METRIC.findall(rule["expr"])))
            only_with = rule["annotations"].get("only_with")
            yield Expression("alert", rule["alert"], metrics, only_with)

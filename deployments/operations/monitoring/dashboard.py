"""The Grafana dashboard, made from the panels of ``panels.yml``.

``python -m deployments.operations.monitoring.dashboard`` writes ``monitoring/dashboard.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from deployments.operations.monitoring.expressions import (
    PANELS_FILE,
    SERVICE,
    WINDOW,
    read_document,
)

DASHBOARD_FILE = "dashboard.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

UID = "embedding-service"
"""The identifier of the dashboard in its address in Grafana."""

GRID, WIDTH, HEIGHT = 24, 8, 7
"""Columns of Grafana's grid, and the size of a panel in them."""


def dashboard_json(document: Mapping[str, Any]) -> str:
    """Return the file that Grafana reads, for the content of ``panels.yml``."""
    dashboard = {
        "uid": UID,
        "title": document["title"],
        "tags": ["embedder"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": _panels(document["rows"]),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    session = {
        "name": "session",
        "label": "Service",
        "type": "query",
        "datasource": DATASOURCE,
        "query": "label_values(ray_serve_application_status, SessionName)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return [{"name": "datasource", "type": "datasource", "query": "prometheus"}, session]


def _panels(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    ids, top = count(1), 0
    for row in rows:
        position = {"x": 0, "y": top, "w": GRID, "h": 1}
        panels.append(
            {
                "id": next(ids),
                "type": "row",
                "title": row["title"],
                "collapsed": False,
                "panels": [],
                "gridPos": position,
            }
        )
        top += 1
        for place, panel in enumerate(row["panels"]):
            line, column = divmod(place, GRID // WIDTH)
            position = {"x": column * WIDTH, "y": top + line * HEIGHT, "w": WIDTH, "h": HEIGHT}
            panels.append({"id": next(ids), **_panel(panel), "gridPos": position})
        top += -(-len(row["panels"]) // (GRID // WIDTH)) * HEIGHT
    return panels


def _panel(panel: Mapping[str, Any]) -> dict[str, Any]:
    expression = panel["expr"].replace(SERVICE, 'SessionName=~"$session"')
    target = {
        "refId": "A",
        "datasource": DATASOURCE,
        "expr": expression.replace(WINDOW, "$__rate_interval"),
        "legendFormat": panel["legend"],
    }
    described = f"Only with {panel['only_with']}." if "only_with" in panel else ""
    return {
        "type": "timeseries",
        "title": panel["title"],
        "description": described,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel["unit"], "min": 0}, "overrides": []},
        "targets": [target],
    }


if __name__ == "__main__":
    folder = Path("monitoring")
    written = dashboard_json(read_document(folder, PANELS_FILE))
    (folder / DASHBOARD_FILE).write_text(written)

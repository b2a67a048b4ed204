"""``embedder monitor --check``: lists which panels and alerts have data."""

from __future__ import annotations

from pathlib import Path

from deployments.operations.monitoring.expressions import (
    Expression,
    alert_expressions,
    panel_expressions,
)
from deployments.operations.monitoring.prometheus import Prometheus

DATA, MISSING = "data", "NO DATA"


def check(files: Path, prometheus: Prometheus) -> int:
    """Print each panel and alert, with and without data, and return the exit status."""
    expressions = [*panel_expressions(files), *alert_expressions(files)]
    states = [_state(expression, prometheus) for expression in expressions]
    for expression, state in zip(expressions, states, strict=True):
        print(f"{expression.kind}  {expression.name:60}  {state}")
    with_data = states.count(DATA)
    missing = sum(state.startswith(MISSING) for state in states)
    print(f"{with_data} of {len(states)} have data, {missing} lack it")
    return 1 if missing else 0


def _state(expression: Expression, prometheus: Prometheus) -> str:
    without = [query for query in expression.queries if not prometheus.query(query)]
    if not without:
        return DATA
    if expression.only_with is not None:
        return f"none: only with {expression.only_with}"
    return f"{MISSING}: {without[0]}"

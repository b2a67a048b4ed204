"""Generates the tables of docs/; a test compares the pages with them."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.ingress.description.schema import MEANINGS
from deployments.ingress.errors.statuses import HTTP_CODES, STATUSES
from deployments.metrics.catalogue import SUBJECTS
from deployments.metrics.definition import MetricDefinition
from deployments.settings.service import IngressLimits
from embedder.core.errors import EmbedderError
from embedder.settings.problems import variable_name


def limits_table() -> str:
    """Return a table of the limits of a request."""
    rows = [
        (
            f"`{name}`",
            _shown(field.default),
            f"`{variable_name(f'limits.{name}')}`",
            field.description,
        )
        for name, field in IngressLimits.model_fields.items()
    ]
    return _table(("limit", "default", "variable", "meaning"), rows)


def errors_table() -> str:
    """Return a table of the error codes that a client may see."""
    rows = [
        (kind.code, status.http, status.tei_http, status.tei_kind, status.retry, _meaning(kind))
        for kind, status in STATUSES.items()
        if status.http != 500
    ]
    rows += [
        (code, status, status, "Validation", False, MEANINGS[status]) for code, status in _HTTP
    ]
    rows.append(("internal_error", 500, 424, "Backend", False, MEANINGS[500]))
    cells = [
        (f"`{code}`", http, f"{tei_http} `{tei_kind}`", "yes" if retry else "no", meaning)
        for code, http, tei_http, tei_kind, retry, meaning in rows
    ]
    return _table(("code", "status", "on TEI's routes", "try again", "meaning"), cells)


def metrics_tables() -> str:
    """Return a section with a table of the published metrics for each subject."""
    return "\n\n".join(
        f"## {subject}\n\n{_table(METRIC_COLUMNS, list(map(_metric_row, metrics)))}"
        for subject, metrics in SUBJECTS.items()
    )


METRIC_COLUMNS = ("metric", "kind", "labels", "published by", "meaning")


def _metric_row(metric: MetricDefinition) -> Sequence[object]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return (
        f"`{metric.exported}`",
        metric.kind.value,
        labels,
        ", ".join(metric.stages),
        metric.description,
    )


_HTTP = [(code, status) for status, code in HTTP_CODES.items()]


def _meaning(kind: type[EmbedderError]) -> str:
    """Return the first clause of a class's docstring."""
    sentence = (kind.__doc__ or "").partition("\n")[0]
    return sentence.partition(";")[0].rstrip(".")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)

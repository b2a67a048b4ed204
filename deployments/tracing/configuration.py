"""The settings of traces: ``tracing_config`` of a Serve configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from embedder.core.errors import ConfigurationError

TRACE_EXPORTER = "deployments.tracing.exporter:otlp"
"""The exporter of settings that name none; that of Serve writes files without a limit."""


def with_exporter(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with `TRACE_EXPORTER` if traces are enabled and no exporter is named."""
    return {"exporter_import_path": TRACE_EXPORTER, **given} if given.get("enabled") else given


def check_tracing(given: Mapping[str, Any]) -> None:
    """Check the settings, and that `TRACE_EXPORTER` can send traces if it is to.

    Raises:
        ConfigurationError: a setting is unknown or out of its bounds, or traces cannot be sent.
    """
    # Here, because most services have no traces.
    from ray.serve.schema import TracingConfig

    from deployments.tracing.exporter import check_otlp

    try:
        tracing = TracingConfig.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, ("tracing_config", *problem["loc"])))
        raise ConfigurationError(f"{place}: {problem['msg']}") from None
    if tracing.enabled and tracing.exporter_import_path == TRACE_EXPORTER:
        check_otlp()

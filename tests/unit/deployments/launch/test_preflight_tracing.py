"""What is wrong with the settings of traces is said before Ray starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch.preflight import check_contents, read_config
from deployments.tracing.configuration import TRACE_EXPORTER
from embedder.core.errors import ConfigurationError


def _read(folder: Path, tracing: Any) -> dict[str, Any]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"tracing_config": tracing, "applications": []}))
    return read_config(path)


def test_traces_are_sent_over_otlp_unless_another_exporter_is_named(tmp_path: Path) -> None:
    own = {"enabled": True, "sampling_ratio": 1.0}
    other = {"enabled": True, "exporter_import_path": "other:exporter"}

    assert _read(tmp_path, own)["tracing_config"] == {"exporter_import_path": TRACE_EXPORTER, **own}
    assert _read(tmp_path, other)["tracing_config"] == other


@pytest.mark.parametrize("tracing", [None, {}, {"enabled": False}, {"sampling_ratio": 0.5}])
def test_traces_are_off_unless_they_are_enabled(tmp_path: Path, tracing: Any) -> None:
    document = _read(tmp_path, tracing)
    check_contents(document)

    assert document["tracing_config"] == tracing


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_is_accepted_up_to_its_bounds(tmp_path: Path, ratio: float) -> None:
    check_contents(_read(tmp_path, {"enabled": True, "sampling_ratio": ratio}))


@pytest.mark.parametrize(
    ("tracing", "says"),
    [
        ({"sampling_ratio": 1.01}, "tracing_config.sampling_ratio: .* between 0.0 and 1.0"),
        ({"sampling_ratio": -0.1}, "tracing_config.sampling_ratio: .* between 0.0 and 1.0"),
        ({"enabled": True, "ratio": 1}, "tracing_config.ratio: Extra inputs are not permitted"),
        ({"enabled": "perhaps"}, "tracing_config.enabled: "),
    ],
)
def test_the_error_of_an_invalid_setting_names_it(tmp_path: Path, tracing: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_contents(_read(tmp_path, tracing))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    other = {"enabled": True, "exporter_import_path": "other:exporter"}
    check_contents(_read(tmp_path, other))

    with pytest.raises(ConfigurationError, match="pip install opentelemetry-exporter-otlp"):
        check_contents(_read(tmp_path, {"enabled": True}))

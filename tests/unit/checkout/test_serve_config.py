"""The configuration that is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.cli import main
from deployments.launch.preflight import check, read_config
from deployments.settings.service import ServeSettings

CONFIGURATION = Path(__file__).parents[3] / "serve_config.yaml"


def test_it_is_accepted() -> None:
    (application,) = yaml.safe_load(CONFIGURATION.read_text())["applications"]

    assert ServeSettings.model_validate(application["args"]).model.name == "all-MiniLM-L6-v2"


def test_it_passes_the_checks_before_a_start() -> None:
    check(read_config(CONFIGURATION, port=0))


def test_config_prints_every_setting_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDER_LIMITS__MAX_INPUTS", "77")

    assert main(["config", str(CONFIGURATION), "--describe"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "77" in lines["limits.max_inputs"]
    assert "(environment EMBEDDER_LIMITS__MAX_INPUTS)" in lines["limits.max_inputs"]
    assert "(file)" in lines["cache.max_bytes"]
    assert "(default)" in lines["pool.max_bytes"]
    assert "inputs per request" in lines["limits.max_inputs"]

"""What `embedder config` prints of lists, and of settings that have no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.cli import main
from tests.unit.deployments.launch.test_preflight import document


def _printed(
    capsys: pytest.CaptureFixture[str], folder: Path, args: dict[str, Any]
) -> dict[str, str]:
    """Return the value and the source of every setting by its path."""
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document(args)))
    assert main(["config", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(" ") for line in lines)}


def test_pools_are_printed_one_a_line_in_place_of_the_settings_that_they_replace(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pools = [{"name": "cpu", "max_replicas": 9}, {"name": "gpu", "hardware": "gpu"}]
    printed = _printed(capsys, tmp_path, {"encoder": {"pools": pools}})
    encoder = {name: value for name, value in printed.items() if name.startswith("encoder.")}

    assert list(encoder) == ["encoder.placement", "encoder.pools.0", "encoder.pools.1"]
    assert encoder["encoder.pools.0"].startswith('{"max_replicas": 9, "name": "cpu"} ')
    assert encoder["encoder.pools.1"].endswith(" (file)")
    assert "tokenizer.max_replicas" in printed


def test_without_pools_the_settings_of_the_encoder_are_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    printed = _printed(capsys, tmp_path, {"encoder": {"max_replicas": 9}})

    assert printed["encoder.max_replicas"].split() == ["9", "(file)"]
    assert printed["encoder.pools"].split() == ["[]", "(default)"]

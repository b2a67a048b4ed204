"""How Serve logs, as `embedder serve` and `embedder deploy` read it from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch.preflight import read_config
from embedder.core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, {"enable_access_log": False}),
        ({"logging_config": None}, {"enable_access_log": False}),
        (
            {"logging_config": {"encoding": "JSON"}},
            {"encoding": "JSON", "enable_access_log": False},
        ),
        ({"logging_config": {"enable_access_log": True}}, {"enable_access_log": True}),
    ],
)
def test_serves_access_log_is_off_unless_the_configuration_turns_it_on(
    given: dict[str, Any], read: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(yaml.safe_dump({"applications": [], **given}))

    assert read_config(file)["logging_config"] == read


def test_an_encoding_that_serve_does_not_know_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("applications: []\nlogging_config: {encoding: json}")

    with pytest.raises(ConfigurationError, match=r"logging_config\.encoding: .*'TEXT' or 'JSON'"):
        read_config(file)

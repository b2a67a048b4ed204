"""The environment that `launched` gives to Ray, printed by a program in place of `serve run`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch import child_process
from deployments.launch.haproxy import REPLAYED, RETRY_VARIABLE
from deployments.launch.preflight import IMPORT_PATH
from tests.unit.waiting import LONG_S

PRINTED = "import json, os; print(json.dumps(dict(os.environ)))"


def _environment(folder: Path, arguments: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which a service with these arguments is started."""
    config = folder / "serve_config.yaml"
    application = {"name": "embedder", "import_path": IMPORT_PATH, "args": arguments}
    config.write_text(yaml.safe_dump({"applications": [application]}))
    with child_process.launched(config) as launch:
        assert launch.process.wait(LONG_S) == 0
        found: dict[str, str] = json.loads(launch.tail())
    return found


@pytest.mark.parametrize(
    ("arguments", "replays"),
    [
        ({}, False),
        ({"ingress": {"max_replicas": 4}}, False),
        ({"ingress": {"min_replicas": 2}}, True),
        # Four cores hold three colocated encoders beside the other stages.
        ({"encoder": {"placement": "colocated"}}, True),
        ({"encoder": {"placement": "colocated", "hardware": "gpu"}}, False),
        ({"encoder": {"placement": "colocated"}, "ingress": {"min_replicas": 1}}, False),
    ],
)
def test_haproxy_repeats_requests_where_there_always_is_another_ingress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], replays: bool
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.delenv(RETRY_VARIABLE, raising=False)
    # No HAProxy starts, and no model is read.
    monkeypatch.setattr(child_process, "check_temporary_folder", lambda: None)
    monkeypatch.setattr(child_process, "check", lambda document: None)
    monkeypatch.setattr(child_process, "usable_cores", lambda: 4)
    printing = [sys.executable, "-c", PRINTED]
    monkeypatch.setattr(child_process, "serve_command", lambda config: printing)

    environment = _environment(tmp_path, arguments)

    assert (REPLAYED in environment[RETRY_VARIABLE]) == replays

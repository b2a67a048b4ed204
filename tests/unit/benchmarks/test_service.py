"""A configuration is changed by sections, and stays valid for the service."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks.service import with_changes
from deployments.settings.service import ServeSettings

CONFIG = Path(__file__).parents[3] / "serve_config.yaml"


def test_changed_sections_are_valid_and_the_others_stay() -> None:
    document = yaml.safe_load(CONFIG.read_text())
    before = yaml.safe_dump(document)
    changes = {"encoder": {"replicas": 3, "placement": "remote"}}
    (application,) = with_changes(document, changes)["applications"]
    settings = ServeSettings.model_validate(application["args"])

    assert (settings.encoder.replicas, settings.encoder.placement) == (3, "remote")
    assert application["args"]["tokenizer"] == document["applications"][0]["args"]["tokenizer"]
    assert yaml.safe_dump(document) == before


def test_a_configuration_without_arguments_gets_them() -> None:
    changes = {"encoder": {"replicas": 1}}
    (application,) = with_changes({"applications": [{"name": "a"}]}, changes)["applications"]

    assert application["args"] == changes

"""Each point is a service of its own, whose configuration has so many encoders and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.scaling.replicas_axis import TEXTS_A_REQUEST, by_replicas, with_replicas
from deployments.settings.service import ServeSettings
from tests.unit.benchmarks.scaling.clients import FakeClient, asker_of
from tests.unit.benchmarks.scaling.outcomes import quick

CONFIG = Path(__file__).parents[4] / "serve_config.yaml"


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return loaded


def test_a_derived_configuration_is_one_that_the_service_takes(document: dict[str, Any]) -> None:
    before = yaml.safe_dump(document)

    (application,) = with_replicas(document, 3)["applications"]
    settings = ServeSettings.model_validate(application["args"])

    assert settings.encoder.replicas == 3
    assert settings.encoder.placement == "remote"
    assert (
        settings.tokenizer.max_replicas
        == document["applications"][0]["args"]["tokenizer"]["max_replicas"]
    ), "the rest is as it was"
    assert yaml.safe_dump(document) == before


def test_two_replicas_for_each_core_leave_half_of_the_cores(document: dict[str, Any]) -> None:
    cores = 2
    (application,) = with_replicas(document, 2 * cores)["applications"]
    encoder = ServeSettings.model_validate(application["args"]).encoder

    assert encoder.num_cpus * 2 * cores <= cores / 2


def test_a_configuration_without_settings_gets_them() -> None:
    (application,) = with_replicas({"applications": [{"name": "a"}]}, 1)["applications"]

    assert application["args"]["encoder"]["replicas"] == 1


@pytest.mark.parametrize(("fast", "most"), [(True, 2), (False, 4)])
def test_each_point_is_a_service_of_its_own(fast: bool, most: int) -> None:
    running: list[int] = []
    started: list[int] = []

    @contextmanager
    def serve(count: int) -> Iterator[str]:
        assert not running
        running.append(count)
        started.append(count)
        yield f"http://{count}"
        running.pop()

    client = FakeClient()
    options = replace(quick(), quick=fast, rounds=1)
    found = by_replicas(asker_of(client), serve, 2, options, lambda place, value: None)

    assert started == list(range(1, most + 1))
    assert not running
    assert [point.x for point in found.points] == started
    loads = [(load["url"], load["clients"], load["size"], load["seconds"]) for load in client.loads]
    assert loads[:2] == [
        ("http://1", 4, TEXTS_A_REQUEST, options.warm_up_s),
        ("http://1", 4, TEXTS_A_REQUEST, options.seconds),
    ]
    assert loads[-1][:2] == (f"http://{most}", 2 * most + 2)

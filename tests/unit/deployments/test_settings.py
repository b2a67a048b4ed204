"""What the configuration may say, what it may not, and what holds where it says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.settings import ServeSettings, StageSettings

CONFIGURATION = Path(__file__).parents[3] / "serve_config.yaml"
STATELESS = ("ingress", "tokenizer", "encoder")
STATEFUL = ("embedding_cache", "vector_index")


def _read(args: dict[str, Any]) -> ServeSettings:
    return ServeSettings.model_validate(args)


def test_what_is_left_out_has_these_values() -> None:
    settings = _read({})

    assert settings.limits.max_body_bytes == 16 * 1024 * 1024
    assert (settings.limits.max_points, settings.limits.max_queries) == (2048, 256)
    assert settings.limits.max_inputs == 2048
    assert settings.limits.request_timeout_s == 60
    assert settings.near_cache_bytes == 32 * 1024 * 1024
    assert settings.cache_timeout_s == 0.2
    assert settings.model.name == "all-MiniLM-L6-v2"
    assert (settings.encoder.num_cpus, settings.encoder.hardware) == (0.5, "auto")
    assert settings.ingress.target_ongoing_requests == 100
    for name in STATELESS:
        stage = getattr(settings, name)
        assert (stage.min_replicas, stage.max_replicas) == (1, 2)
    for name in (*STATEFUL, "ingress", "tokenizer"):
        stage = getattr(settings, name)
        assert (stage.num_cpus, stage.hardware) == (0.1, "cpu")


@pytest.mark.parametrize(
    "args",
    [
        {"unknown": 1},
        {"encoder": {"replicas": 2}},
        {"encoder": {"num_cpu": 1}},
        {"limits": {"max_input": 1}},
        {"model": {"nam": "x"}},
        {"vector_index": {"min_replicas": 2}},
        {"embedding_cache": {"max_bytes": 1}},
    ],
)
def test_an_unknown_key_is_refused_wherever_it_stands(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        _read(args)

    assert [problem["type"] for problem in caught.value.errors()] == ["extra_forbidden"]


@pytest.mark.parametrize("name", STATELESS)
def test_more_replicas_at_least_than_at_most_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="min_replicas is 3, above max_replicas 2"):
        _read({name: {"min_replicas": 3}})

    assert getattr(_read({name: {"min_replicas": 2}}), name).min_replicas == 2


@pytest.mark.parametrize(
    "args",
    [
        {"encoder": {"min_replicas": 0}},
        {"encoder": {"num_cpus": -1}},
        {"encoder": {"num_gpus": 0}},
        {"encoder": {"hardware": "tpu"}},
        {"encoder": {"target_ongoing_requests": 0}},
        {"encoder": {"flights_per_replica": 0}},
        {"limits": {"max_body_bytes": 0}},
        {"limits": {"request_timeout_s": 0}},
        {"cache_timeout_s": 0},
        {"near_cache_bytes": -1},
    ],
)
def test_a_value_out_of_bounds_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _read(args)


def test_settings_cannot_change_once_they_are_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _read({}).near_cache_bytes = 1  # type: ignore[misc]


@pytest.mark.parametrize(("replicas", "flights", "most"), [(1, 1, 1), (2, 2, 4), (3, 5, 15)])
def test_flights_are_counted_for_every_replica_there_may_be(
    replicas: int, flights: int, most: int
) -> None:
    stage = StageSettings(max_replicas=replicas, flights_per_replica=flights)

    assert stage.max_flights == most


@pytest.mark.parametrize("name", [*STATELESS, *STATEFUL])
def test_setting_one_value_of_a_stage_leaves_its_other_values_as_they_were(name: str) -> None:
    stage = getattr(_read({name: {"num_gpus": 0.5}}), name)

    assert stage == getattr(_read({}), name).model_copy(update={"num_gpus": 0.5})


def test_the_configuration_that_is_shipped_is_accepted() -> None:
    document = yaml.safe_load(CONFIGURATION.read_text())
    (application,) = document["applications"]

    assert _read(application["args"]).model.name == "all-MiniLM-L6-v2"

"""The settings of the service: defaults, bounds and refused values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from deployments.settings.stages import StageSettings
from embedder.batching.packing import Slots
from embedder.core.errors import ConfigurationError
from embedder.settings.problems import RENAMED, variable_name
from embedder.settings.sources import load

STATELESS = ("ingress", "tokenizer", "encoder")
STATEFUL = ("embedding_cache", "vector_index")


def _read(args: dict[str, Any]) -> ServeSettings:
    return ServeSettings.model_validate(args)


def test_the_default_values() -> None:
    settings = _read({})

    assert settings.limits.max_body_bytes == 16 * 1024 * 1024
    assert (settings.limits.max_points, settings.limits.max_queries) == (2048, 256)
    assert settings.limits.max_inputs == 2048
    assert settings.limits.request_timeout_s == 60
    assert (settings.cache.shards, settings.cache.local_bytes) == (1, 32 * 1024 * 1024)
    assert settings.cache.timeout_s == 0.05
    assert settings.data_directory == "auto"
    assert settings.model.name == "all-MiniLM-L6-v2"
    assert (settings.encoder.num_cpus, settings.encoder.hardware) == (0.5, "auto")
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
        {"tokenizer": {"replicas": 2}},
        {"encoder": {"num_cpu": 1}},
        {"limits": {"max_input": 1}},
        {"model": {"nam": "x"}},
        {"vector_index": {"replicas": 2}},
        {"embedding_cache": {"max_bytes": 1}},
    ],
)
def test_an_unknown_key_is_refused_at_every_level(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        _read(args)

    assert [problem["type"] for problem in caught.value.errors()] == ["extra_forbidden"]


def test_the_replicas_of_the_encoder_are_stated_once() -> None:
    bounds = {"min_replicas": 1, "max_replicas": 3}

    assert _read({}).encoder.replicas == "auto"
    assert _read({"encoder": bounds}).encoder.replicas is None
    assert _read({"encoder": {"replicas": "auto", **bounds}}).encoder.replicas == "auto"
    with pytest.raises(ValidationError, match="leave max_replicas and min_replicas out"):
        _read({"encoder": {"replicas": 2, **bounds}})


def test_a_shard_has_several_replicas_only_with_a_database() -> None:
    stage = {"min_replicas": 2, "max_replicas": 3}
    with pytest.raises(ValidationError, match=r"max_replicas is 3.*index\.url.*max_replicas to 1"):
        _read({"vector_index": stage})

    settings = _read({"vector_index": stage, "index": {"url": "postgresql://someone:pass@here/db"}})
    assert (settings.vector_index.min_replicas, settings.vector_index.max_replicas) == (2, 3)
    assert "pass@" not in f"{settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize("name", STATELESS)
def test_min_replicas_above_max_replicas_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="min_replicas is 3, above max_replicas 2"):
        _read({name: {"min_replicas": 3}})

    assert getattr(_read({name: {"min_replicas": 2}}), name).min_replicas == 2


@pytest.mark.parametrize(
    "args",
    [
        {"encoder": {"min_replicas": -1}},
        {"encoder": {"replicas": 0}},
        {"encoder": {"replicas": "all"}},
        {"encoder": {"num_cpus": -1}},
        {"encoder": {"num_gpus": 0}},
        {"encoder": {"hardware": "tpu"}},
        {"encoder": {"target_utilization": 0}},
        {"encoder": {"target_utilization": 1.1}},
        {"encoder": {"calls_per_replica": 0}},
        {"encoder": {"placement": "idle"}},
        {"tokenizer": {"placement": 16_000}},
        {"limits": {"max_body_bytes": 0}},
        {"limits": {"request_timeout_s": 0}},
        {"cache": {"timeout_s": 0}},
        {"cache": {"local_bytes": -1}},
        {"cache": {"shards": 0}},
        {"cache": {"shards": 65}},
    ],
)
def test_a_value_out_of_bounds_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _read(args)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_of_a_setting_is_refused_with_the_new_one(old: str, new: str) -> None:
    section, name = old.split(".")
    variable = variable_name(old)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"file": {section: {name: 1}}}, f"{old} (file): has been renamed to {new}"),
        ({"arguments": {old: 1}}, f"{old} (argument): has been renamed to {new}"),
        (
            {"environment": {variable: "1"}},
            f"{old} (environment {variable}): has been renamed to {new} ({variable_name(new)})",
        ),
    ]
    for sources, message in cases:
        with pytest.raises(ConfigurationError) as caught:
            load(ServeSettings, **sources)
        assert str(caught.value) == message
    assert new in load(ServeSettings).origins


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _read({}).cache.local_bytes = 1  # type: ignore[misc]


@pytest.mark.parametrize(("running", "counted"), [(1, 1), (3, 3), (9, 9), (0, 1), (None, 4)])
@pytest.mark.parametrize("calls", [1, 2])
def test_concurrent_calls_follow_the_running_replicas(
    running: int | None, counted: int, calls: int
) -> None:
    stage = StageSettings(max_replicas=4, calls_per_replica=calls)

    slots = stage.concurrent_calls(worth_tokens=9, replicas=running)
    assert slots == Slots(calls * counted, eager=counted, worth_tokens=9)


@pytest.mark.parametrize("name", [*STATELESS, *STATEFUL])
def test_setting_one_value_of_a_stage_leaves_its_other_values_as_they_were(name: str) -> None:
    stage = getattr(_read({name: {"num_gpus": 0.5}}), name)

    assert stage == getattr(_read({}), name).model_copy(update={"num_gpus": 0.5})


def _list(*models: dict[str, Any]) -> ModelList:
    return ModelList.model_validate({"models": models})


def test_only_the_first_model_is_pinned_by_default() -> None:
    models = _list({"name": "a"}, {"name": "b"}, {"name": "c", "pinned": True})

    assert [model.pinned for model in models.models] == [True, False, True]
    assert [model.name for model in models.pinned] == ["a", "c"]


@pytest.mark.parametrize(
    ("models", "name"),
    [
        ([{"name": "a"}, {"name": "b"}, {"name": "a"}], "a"),
        ([{"name": "/one/a"}, {"name": "/two/a"}], "a"),
        ([{"name": "a", "alias": "x"}, {"name": "b", "alias": "x"}], "x"),
        ([{"name": "a"}, {"name": "b", "alias": "a"}], "a"),
        (
            [
                {"name": "all-MiniLM-L6-v2"},
                {"name": "sentence-transformers/all-MiniLM-L6-v2", "max_tokens": 64},
            ],
            "all-MiniLM-L6-v2",
        ),
    ],
)
def test_two_models_with_one_name_are_refused(models: list[dict[str, Any]], name: str) -> None:
    with pytest.raises(ValidationError, match=f"several models are called '{name}'"):
        _list(*models)


@pytest.mark.parametrize(
    "models",
    [
        [{"name": "a", "alias": "x"}, {"name": "a", "alias": "y"}],
        [{"name": "/one/a"}, {"name": "/two/a", "alias": "other"}],
        [{"name": "a", "alias": "x"}, {"name": "a"}],
    ],
)
def test_one_model_may_be_served_under_several_names(models: list[dict[str, Any]]) -> None:
    assert len(_list(*models).models) == 2


@pytest.mark.parametrize(
    "user_config",
    [
        {"models": []},
        {"models": None},
        {"models": {"name": "a"}},
        {"models": [{"name": ""}]},
        {"models": [{"nam": "a"}]},
        {"model": [{"name": "a"}]},
        [],
    ],
)
def test_an_invalid_list_of_models_is_refused(user_config: Any) -> None:
    with pytest.raises(ValidationError):
        ModelList.model_validate(user_config)


def test_the_served_models_are_the_first_one_and_the_further_ones() -> None:
    served = _read({"model": {"name": "a"}, "further_models": [{"name": "b"}]}).served

    assert [model.name for model in served.models] == ["a", "b"]
    assert [model.name for model in served.pinned] == ["a"]


def test_a_list_of_models_is_unchanged_by_a_configuration_file() -> None:
    models = _list({"name": "a", "prompts": {"query": "q: "}}, {"name": "b", "alias": "x"})

    assert ModelList.model_validate(yaml.safe_load(models.model_dump_json())) == models

"""Settings are validated when they are constructed, and cannot be changed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embedder.settings import model as config
from embedder.settings.cache import CacheSettings
from embedder.settings.model import (
    BackendSettings,
    BatchSettings,
    EmbedderSettings,
    IndexSettings,
    LimitSettings,
    ModelSettings,
    PoolSettings,
)
from embedder.settings.presets import PresetName
from embedder.settings.tree import Settings

NODES = [
    node
    for node in vars(config).values()
    if isinstance(node, type) and issubclass(node, Settings) and node is not Settings
]
every_node = pytest.mark.parametrize("node", NODES)


def test_every_node_is_reached_from_the_root() -> None:
    reached = {field.annotation for field in EmbedderSettings.model_fields.values()}

    assert reached - {PresetName} == set(NODES) - {EmbedderSettings}


@every_node
def test_an_unknown_key_is_refused_by_name(node: type[Settings]) -> None:
    with pytest.raises(ValidationError, match="max_tokns"):
        node.model_validate({"max_tokns": 1})


def test_an_unknown_key_deep_in_the_tree_is_refused_with_its_path() -> None:
    with pytest.raises(ValidationError, match=r"batching\.max_tokns"):
        EmbedderSettings.model_validate({"batching": {"max_tokns": 1}})


@every_node
def test_settings_cannot_be_changed(node: type[Settings]) -> None:
    settings = node()

    for name in node.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize(
    ("node", "name", "least"),
    [
        (ModelSettings, "max_tokens", 1),
        (BackendSettings, "threads", 1),
        (BatchSettings, "max_tokens", 1),
        (BatchSettings, "max_items", 1),
        (BatchSettings, "bulk_delay_s", 0),
        (LimitSettings, "max_inputs", 1),
        (LimitSettings, "max_characters", 1),
        (LimitSettings, "max_request_tokens", 1),
        (LimitSettings, "max_queued_tokens", 1),
        (BatchSettings, "autotune_s", 0),
        (CacheSettings, "max_bytes", 0),
        (CacheSettings, "autosave_entries", 1),
        (PoolSettings, "max_bytes", 1),
    ],
)
def test_a_number_is_accepted_from_its_minimum_on(
    node: type[Settings], name: str, least: int
) -> None:
    assert getattr(node.model_validate({name: least}), name) == least

    with pytest.raises(ValidationError, match=name):
        node.model_validate({name: least - 1})


def test_an_idle_time_of_zero_is_refused() -> None:
    assert PoolSettings(idle_unload_s=0.1).idle_unload_s == 0.1

    with pytest.raises(ValidationError, match="idle_unload_s"):
        PoolSettings(idle_unload_s=0)


def test_every_number_has_a_minimum() -> None:
    unbounded = [
        f"{node.__name__}.{name}"
        for node in NODES
        for name, schema in node.model_json_schema()["properties"].items()
        for choice in schema.get("anyOf", [schema])
        if choice.get("type") in ("integer", "number")
        and not choice.keys() & {"minimum", "exclusiveMinimum"}
    ]

    assert unbounded == []


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_names_of_devices_are_accepted(device: str) -> None:
    assert BackendSettings(device=device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "cuda:0 ", "cpu\n"])
def test_other_device_names_are_refused(device: str) -> None:
    with pytest.raises(ValidationError, match="device"):
        BackendSettings(device=device)


@pytest.mark.parametrize(
    ("node", "values"),
    [
        (BackendSettings, {"dtype": "int4"}),
        (BackendSettings, {"name": "tensorflow"}),
        (ModelSettings, {"revision": "main"}),
        (ModelSettings, {"sha256": "0" * 63}),
        (ModelSettings, {"alias": ""}),
        (ModelSettings, {"matryoshka": [0]}),
        (CacheSettings, {"autosave_s": 0}),
        (CacheSettings, {"url": "http://localhost"}),
        (EmbedderSettings, {"preset": "fast"}),
        (ModelSettings, {"pooling": "median"}),
        (EmbedderSettings, {"model": "all-MiniLM-L6-v2"}),
    ],
)
def test_an_invalid_value_is_refused(node: type[Settings], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        node.model_validate(values)


def test_settings_are_equal_after_a_round_trip_as_json() -> None:
    settings = EmbedderSettings(
        model=ModelSettings(name="x", pooling="cls", max_tokens=9, matryoshka=(8, 4)),
        backend=BackendSettings(device="cuda:1", threads=2),
    )

    assert EmbedderSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("field", ["offline", "pinned"])
def test_the_key_ignores_settings_that_do_not_change_the_model(field: str) -> None:
    model = ModelSettings(name="x")

    assert model.model_copy(update={field: True}).key == model.key
    assert model.model_copy(update={"pooling": "cls"}).key != model.key


@pytest.mark.parametrize("preset", [{}, []])
def test_a_preset_that_is_not_a_name_is_refused(preset: object) -> None:
    with pytest.raises(ValidationError, match="preset"):
        EmbedderSettings.model_validate({"preset": preset})


@pytest.mark.parametrize("url", ["redis://h", "rediss://user:pw@h:1/0", "unix:///run/redis.sock"])
def test_urls_of_redis_are_accepted(url: str) -> None:
    settings = CacheSettings.model_validate({"url": url})

    assert settings.url is not None
    assert settings.url.get_secret_value() == url


def test_a_directory_and_a_url_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="directory and url are both set"):
        CacheSettings.model_validate({"directory": "x", "url": "redis://h"})


@pytest.mark.parametrize(
    "cache",
    [
        {"url": "http://:horse@h"},
        {"url": "redis://:horse@h", "directory": "x"},
        {"url": "redis://:horse@h", "max_bytes": -1},
        {"url": "redis://:horse@h", "urk": 1},
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_errors_and_representations_never_contain_a_password(
    cache: dict[str, Any], whole: bool
) -> None:
    with pytest.raises(ValidationError) as refused:
        (EmbedderSettings if whole else CacheSettings).model_validate(
            {"cache": cache} if whole else cache
        )

    assert "horse" not in str(refused.value)
    assert "horse" not in repr(CacheSettings.model_validate({"url": "redis://:horse@h"}))


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://u:pw@h:1,i:2/d"])
def test_the_url_of_an_index_is_one_of_postgresql(url: str) -> None:
    settings = IndexSettings.model_validate({"url": url, "snapshots": "s3://bucket/folder"})

    assert settings.url is not None
    assert settings.url.get_secret_value() == url


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "mysql://someone:horse@h"}, "must begin with postgresql://"),
        ({"url": "horse"}, "must begin with postgresql://"),
        ({"snapshots": "s3://bucket/folder"}, "without url"),
        ({"snapshots": "s3://key:horse@bucket"}, "must have no password"),
        ({"snapshots": "az://container?sig=horse"}, "must have no password and no options"),
        ({"snapshots": "s3://horse]"}, "must be a URL"),
        ({"snapshots": "ftp://horse"}, "must begin with one of s3://"),
        ({"snapshots": "/horse"}, "must begin with one of s3://"),
        ({"snapshots": "simplecache::s3://horse"}, "must begin with one of s3://"),
        ({"snapshots": "file://horse::s3://horse"}, "must begin with one of s3://"),
    ],
)
def test_an_index_elsewhere_is_refused_without_repeating_its_password(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        IndexSettings.model_validate(given)

    assert "horse" not in str(caught.value)

"""The first source that assigns a setting decides it, and its origin is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.settings.model import BatchSettings, EmbedderSettings, ModelSettings
from embedder.settings.problems import variable_name
from embedder.settings.sources import explain, load

YAML = """
preset: low_memory
model:
  prompts: {query: "query: "}
batching:
  max_items: 5
"""
TOML = """
preset = "low_memory"
[model.prompts]
query = "query: "
[batching]
max_items = 5
"""


def test_without_sources_settings_have_their_defaults() -> None:
    loaded = load(EmbedderSettings)

    assert loaded.settings == EmbedderSettings()
    assert set(loaded.origins.values()) == {"default"}


@pytest.mark.parametrize(("name", "text"), [("s.yaml", YAML), ("s.yml", YAML), ("s.toml", TOML)])
def test_the_suffix_of_a_file_selects_its_format(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    loaded = load(EmbedderSettings, file=path)

    assert loaded.settings.batching == BatchSettings(max_items=5, max_tokens=512)
    assert loaded.settings.model.prompts == {"query": "query: "}
    assert loaded.origins["batching.max_items"] == f"file {name}"
    assert loaded.origins["batching.max_tokens"] == "preset low_memory"
    assert loaded.origins["batching.bulk_delay_s"] == "default"


def test_sources_have_an_order_of_priority() -> None:
    loaded = load(
        EmbedderSettings,
        arguments={"batching.max_tokens": 1},
        environment={"EMBEDDER_BATCHING__MAX_TOKENS": "2", "EMBEDDER_BATCHING__MAX_ITEMS": "3"},
        file={"preset": "low_memory", "batching": {"max_items": 4, "autotune_s": 5}},
    )

    assert loaded.settings.batching == BatchSettings(max_tokens=1, max_items=3, autotune_s=5)
    assert loaded.settings.cache.max_bytes == 16 * 2**20
    assert loaded.origins["batching.max_tokens"] == "argument"
    assert loaded.origins["batching.max_items"] == "environment EMBEDDER_BATCHING__MAX_ITEMS"
    assert loaded.origins["batching.autotune_s"] == "file"
    assert loaded.origins["cache.max_bytes"] == "preset low_memory"


NUMBERS = {
    "batching.max_items": 1024,
    "limits.max_inputs": 2048,
    "cache.max_bytes": 256 * 2**20,
    "encoder.max_replicas": 2,
}
assigned = st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.integers(1, 10**6))


@given(arguments=assigned, environment=assigned, file=assigned)
def test_the_first_source_that_assigns_a_setting_decides_it(
    arguments: dict[str, int], environment: dict[str, int], file: dict[str, int]
) -> None:
    tree: dict[str, dict[str, int]] = {}
    for path, value in file.items():
        section, name = path.split(".")
        tree.setdefault(section, {})[name] = value
    loaded = load(
        ServeSettings,
        arguments=arguments,
        environment={variable_name(path): str(value) for path, value in environment.items()},
        file=tree,
    )

    rows = {path: (value, origin) for path, value, origin, _ in explain(loaded)}
    for path, default in NUMBERS.items():
        if path in arguments:
            assert rows[path] == (arguments[path], "argument")
        elif path in environment:
            assert rows[path] == (environment[path], f"environment {variable_name(path)}")
        else:
            assert rows[path] == (file.get(path, default), "file" if path in file else "default")


@pytest.mark.parametrize("source", ["argument", "environment", "file"])
def test_a_preset_may_come_from_any_source(source: str) -> None:
    sources: dict[str, Any] = {
        "argument": {"arguments": {"preset": "low_memory"}},
        "environment": {"environment": {"EMBEDDER_PRESET": "low_memory"}},
        "file": {"file": {"preset": "low_memory"}},
    }[source]

    assert load(EmbedderSettings, **sources).settings == EmbedderSettings(preset="low_memory")


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("EMBEDDER_MODEL__NAME", "123", "model.name", "123"),
        ("embedder_model__offline", "true", "model.offline", True),
        ("EMBEDDER_BACKEND__THREADS", "null", "backend.threads", None),
        ("EMBEDDER_BACKEND__DTYPE", "int8", "backend.dtype", "int8"),
        ("EMBEDDER_BATCHING__AUTOTUNE_S", "0.5", "batching.autotune_s", 0.5),
        ("EMBEDDER_MODEL__PROMPTS", '{"Query": "q: "}', "model.prompts", {"Query": "q: "}),
        ("EMBEDDER_MODEL__PROMPTS__QUERY", "[x] ", "model.prompts", {"query": "[x] "}),
        ("EMBEDDER_MODEL", '{"name": "null"}', "model.name", "null"),
    ],
)
def test_a_variable_is_parsed_by_the_type_of_its_setting(
    name: str, text: str, path: str, expected: object
) -> None:
    loaded = load(EmbedderSettings, environment={name: text, "PATH": "/bin"})

    rows = {row[0]: row for row in explain(loaded)}
    assert rows[path][1:3] == (expected, f"environment {name}")


def test_a_variable_may_name_the_file_that_holds_the_value(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://me:p ss@host/points\n")
    environment = {"EMBEDDER_INDEX__URL_FILE": str(file), "embedder_batching__max_items_file": ""}
    number = tmp_path / "number"
    number.write_text("7\r\n")
    environment["embedder_batching__max_items_file"] = str(number)
    loaded = load(ServeSettings, environment=environment)

    assert loaded.settings.index.url is not None
    assert loaded.settings.index.url.get_secret_value() == "postgresql://me:p ss@host/points"
    assert loaded.settings.batching.max_items == 7
    assert loaded.origins["index.url"] == "environment EMBEDDER_INDEX__URL_FILE, in a file"


def test_a_setting_that_ends_in_file_is_a_setting(tmp_path: Path) -> None:
    loaded = load(ServeSettings, environment={"EMBEDDER_KEYS_FILE": "/run/secrets/keys"})

    assert loaded.settings.keys_file == "/run/secrets/keys"
    assert loaded.settings.keys == ()


def test_a_file_that_cannot_be_read_is_named_and_its_content_is_not(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    binary = tmp_path / "binary"
    binary.write_bytes(b"secret \xff")

    with pytest.raises(
        ConfigurationError, match=rf"^EMBEDDER_INDEX__URL_FILE: .*{missing}: No such"
    ):
        load(ServeSettings, environment={"EMBEDDER_INDEX__URL_FILE": str(missing)})
    with pytest.raises(ConfigurationError, match=f"cannot read {binary}") as refused:
        load(ServeSettings, environment={"EMBEDDER_INDEX__URL_FILE": str(binary)})
    assert "secret" not in str(refused.value)


def test_a_section_is_read_from_no_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://me:secret@host/points")

    with pytest.raises(ConfigurationError, match=r"index_file .*no such setting") as refused:
        load(ServeSettings, environment={"EMBEDDER_INDEX_FILE": str(file)})
    assert "secret" not in str(refused.value)


def test_a_wrong_value_in_a_file_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "number"
    file.write_text("secret")
    with pytest.raises(ConfigurationError, match=r"max_items \(environment .*integer") as refused:
        load(ServeSettings, environment={"EMBEDDER_BATCHING__MAX_ITEMS_FILE": str(file)})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["EMBEDDER_MODEL__NAME_FILE", "embedder_model__name_file"])
def test_a_value_and_the_file_of_a_value_are_refused_together(name: str, tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_text("a")
    environment = {"EMBEDDER_MODEL__NAME": "b", name: str(file)}

    with pytest.raises(ConfigurationError, match=f"{name} and EMBEDDER_MODEL__NAME are both set"):
        load(EmbedderSettings, environment=environment)


def test_a_variable_that_ends_in_file_and_names_no_setting_is_unknown() -> None:
    with pytest.raises(ConfigurationError, match="model"):
        load(EmbedderSettings, environment={"EMBEDDER_MODEL__NAMES_FILE": "/missing"})


def test_arguments_are_a_tree_or_dotted_paths_or_section_objects() -> None:
    as_tree = load(EmbedderSettings, arguments={"batching": {"max_items": 3}})
    as_paths = load(EmbedderSettings, arguments={"batching.max_items": "3"})
    as_section = load(EmbedderSettings, arguments={"batching": BatchSettings(max_items=3)})

    assert as_tree == as_paths == as_section


def test_the_variable_of_a_setting_goes_before_that_of_its_section() -> None:
    environment = {
        "EMBEDDER_MODEL__NAME": "b",
        "EMBEDDER_MODEL": '{"name": "a", "alias": "x"}',
    }

    model = load(EmbedderSettings, environment=environment).settings.model

    assert model == ModelSettings(name="b", alias="x")


def test_mappings_are_merged_and_an_empty_mapping_removes_entries() -> None:
    file = {"model": {"prompts": {"query": "q", "title": "t"}}, "cache": {"max_bytes": 1}}
    over = {"model": {"prompts": {"query": "other"}}, "cache": {}}

    both = load(EmbedderSettings, arguments=over, file=file)
    none = load(EmbedderSettings, arguments={"model.prompts": {}}, file=file)

    assert both.settings.model.prompts == {"query": "other", "title": "t"}
    assert both.origins["model.prompts"] == "file, argument"
    assert both.settings.cache.max_bytes == 1
    assert none.settings.model.prompts == {}
    assert none.origins["model.prompts"] == "argument"


def test_every_setting_is_explained_in_order() -> None:
    rows = explain(load(ServeSettings, arguments={"encoder.num_cpus": 2}))

    paths = [path for path, *_ in rows]
    assert paths[0] == "preset"
    assert paths.index("model.name") < paths.index("encoder.num_cpus")
    assert (
        "encoder.num_cpus",
        2.0,
        "argument",
        "logical CPUs that Ray reserves per replica",
    ) in rows
    assert len(paths) == len(set(paths))

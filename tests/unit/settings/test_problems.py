"""Every problem is reported with its path, its origin and a suggestion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, model_validator

from embedder.core.errors import ConfigurationError
from embedder.settings.model import EmbedderSettings
from embedder.settings.problems import variable_name
from embedder.settings.sources import explain, load
from embedder.settings.tree import Settings


class Section(Settings):
    """A section with a secret, and with a rule between its settings."""

    key: SecretStr = SecretStr("")
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> Section:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above high {self.high}")
        return self


class Tree(Settings):
    """A tree without presets."""

    section: Section = Section()
    items: list[Section] = Field([])


def _refusal(kind: type[Settings] = EmbedderSettings, **sources: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(kind, **sources)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (
            {"file": {"batching": {"max_token": 1}}},
            "batching.max_token (file): no such setting; did you mean batching.max_tokens?",
        ),
        (
            {"environment": {"EMBEDDER_BATCHING__MAX_ITEMS": "0"}},
            "batching.max_items (environment EMBEDDER_BATCHING__MAX_ITEMS): "
            "Input should be greater than or equal to 1 (it is '0')",
        ),
        (
            {"environment": {"EMBEDDER_BATCHING_MAX_TOKENS": "5"}},
            "batching_max_tokens (environment EMBEDDER_BATCHING_MAX_TOKENS): no such setting; "
            "did you mean batching.max_tokens (EMBEDDER_BATCHING__MAX_TOKENS)?",
        ),
        ({"arguments": {"qqqq": 1}}, "qqqq (argument): no such setting"),
        (
            {"arguments": {"preset": "fast"}},
            "preset (argument): Input should be 'balanced', 'high_performance' or 'low_memory' "
            "(it is 'fast')",
        ),
        (
            {"arguments": {"backend.dtype": "x"}},
            "backend.dtype (argument): Input should be 'auto' or Input should be 'float32', "
            "'bfloat16', 'float16' or 'int8' (it is 'x')",
        ),
        (
            {"environment": {"EMBEDDER_MODEL__PROMPTS": "{x"}},
            "model.prompts (environment EMBEDDER_MODEL__PROMPTS): not valid JSON: Expecting "
            "property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            {"file": {"batching": None}},
            "batching (file): Input should be a valid dictionary or instance of BatchSettings "
            "(it is None)",
        ),
    ],
)
def test_a_problem_is_reported_with_its_path_and_origin(
    sources: dict[str, Any], expected: str
) -> None:
    assert _refusal(**sources) == [expected]


def test_all_problems_of_all_sources_are_reported_at_once() -> None:
    lines = _refusal(
        arguments={"cache.max_bytes": -1},
        environment={"EMBEDDER_MODEL__PROMPTS": "[", "EMBEDDER_MODEL__NAM": "x"},
        file={"backend": {"thread": 1}},
    )

    assert sorted(line.split(" (")[0] for line in lines) == [
        "backend.thread",
        "cache.max_bytes",
        "model.nam",
        "model.prompts",
    ]


def test_a_violated_rule_between_settings_is_reported_with_all_origins() -> None:
    lines = _refusal(
        Tree, arguments={"section.low": 5}, environment={"EMBEDDER_SECTION__HIGH": "2"}
    )

    assert lines == [
        "section (environment EMBEDDER_SECTION__HIGH, argument): low is 5, above high 2"
    ]


def test_a_problem_inside_a_list_is_reported_with_its_number() -> None:
    lines = _refusal(Tree, file={"items": [{"low": 0}, {"hihg": 1}, {"low": "x"}]})

    assert lines[0] == "items.1.hihg (file): no such setting; did you mean items.1.high?"
    assert lines[1].startswith("items.2.low (file): Input should be a valid integer")


def test_a_wrong_secret_is_not_shown() -> None:
    (line,) = _refusal(Tree, arguments={"section": {"key": 12345}})

    assert line == "section.key (argument): Input should be a valid string"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.ini", "", "must end with .yaml, .yml or .toml"),
        ("s.yaml", "{", "cannot read"),
        ("s.toml", "x = ", "cannot read"),
        ("s.yaml", "- 1", "must hold names and values"),
        ("s.toml", "x = '\udcff'", "cannot read"),
    ],
)
def test_an_unreadable_file_is_refused_by_its_name(
    name: str, text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigurationError, match=says) as caught:
        load(EmbedderSettings, file=path)
    assert name in str(caught.value)


def test_a_missing_file_is_refused_and_an_empty_file_assigns_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load(EmbedderSettings, file=tmp_path / "missing.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load(EmbedderSettings, file=tmp_path / "empty.yaml").settings == EmbedderSettings()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(["model", "name", "prompts", "batching", "max_items", "x", ""])


@given(
    file=st.dictionaries(names, st.dictionaries(names, json_values) | json_values),
    texts=st.dictionaries(st.lists(names, min_size=1, max_size=3).map(".".join), json_values),
)
def test_any_input_gives_settings_or_problems(
    file: Mapping[str, Any], texts: Mapping[str, Any]
) -> None:
    environment = {variable_name(path): json.dumps(value) for path, value in texts.items()}
    try:
        loaded, problems = load(EmbedderSettings, environment=environment, file=file), ""
    except ConfigurationError as error:
        loaded, problems = load(EmbedderSettings), str(error)

    assert loaded.origins.keys() == {path for path, *_ in explain(loaded)}
    assert all(": " in line for line in problems.splitlines())


def test_a_key_with_line_breaks_is_reported_on_one_line() -> None:
    assert _refusal(file={"a\nb\x85": 1}) == [r"a\nb\x85 (file): no such setting"]

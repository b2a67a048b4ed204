"""The prompt of a request follows its options, then the model's default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, ModelInfo
from embedder.models.prompts import select_prompt
from tests.unit.fake_model import MODEL

QUERY, DOCUMENT = InputType.QUERY, InputType.DOCUMENT
BOTH = {"query": "Q: ", "document": "D: "}
E5 = {"query": "query: ", "passage": "passage: "}
CORPUS = {"corpus": "C: ", "classification": "K: "}

NAMES = st.sampled_from(["query", "document", "passage", "corpus", "classification"])
TABLES = st.dictionaries(NAMES, st.text(max_size=4))


def model(prompts: Mapping[str, str], default: str | None = None) -> ModelInfo:
    """Return a model with these prompts."""
    return replace(MODEL, prompts=prompts, default_prompt=default)


@pytest.mark.parametrize(
    ("options", "prompts", "default", "expected"),
    [
        (EmbedOptions(), {}, None, ""),
        (EmbedOptions(), BOTH, None, ""),
        (EmbedOptions(), BOTH, "query", "Q: "),
        (EmbedOptions(prompt="own: "), BOTH, "query", "own: "),
        (EmbedOptions(prompt=""), BOTH, "query", ""),
        (EmbedOptions(prompt_name="document"), BOTH, "query", "D: "),
        (EmbedOptions(prompt_name="classification"), CORPUS, None, "K: "),
        (EmbedOptions(input_type=QUERY), BOTH, None, "Q: "),
        (EmbedOptions(input_type=DOCUMENT), BOTH, None, "D: "),
        (EmbedOptions(input_type=DOCUMENT), BOTH, "query", "D: "),
        (EmbedOptions(input_type=DOCUMENT), E5, None, ""),
        (EmbedOptions(input_type=QUERY), E5, None, "query: "),
        (EmbedOptions(input_type=DOCUMENT), CORPUS, None, ""),
        (EmbedOptions(input_type=DOCUMENT), {**CORPUS, **E5, **BOTH}, None, "D: "),
        (EmbedOptions(input_type=DOCUMENT), {"query": "Q: "}, None, ""),
        (EmbedOptions(input_type=DOCUMENT), {"query": "Q: "}, "query", ""),
        (EmbedOptions(input_type=QUERY), CORPUS, "corpus", ""),
        (EmbedOptions(input_type=QUERY), {}, None, ""),
        (EmbedOptions(input_type=InputType.CLASSIFICATION), CORPUS, None, "K: "),
        (EmbedOptions(input_type=InputType.CLUSTERING), CORPUS, "corpus", ""),
    ],
)
def test_the_prompt_follows_the_options_and_the_model(
    options: EmbedOptions, prompts: Mapping[str, str], default: str | None, expected: str
) -> None:
    assert select_prompt(options, model(prompts, default)) == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            EmbedOptions(prompt_name="title"),
            "'prompt_name' is 'title'; this model has: query, document",
        ),
        (EmbedOptions(prompt_name=""), "'prompt_name' is ''; this model has: query, document"),
        (
            EmbedOptions(prompt="own: ", prompt_name="query"),
            "'prompt_name' cannot stand beside 'prompt'",
        ),
        (
            EmbedOptions(prompt="", input_type=QUERY),
            "'input_type' cannot stand beside 'prompt'",
        ),
        (
            EmbedOptions(prompt_name="query", input_type=QUERY),
            "'input_type' cannot stand beside 'prompt_name'",
        ),
    ],
)
def test_unknown_names_and_conflicting_options_are_refused(
    options: EmbedOptions, sentence: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        select_prompt(options, model(BOTH))

    assert str(caught.value) == sentence


def test_a_model_without_prompts_says_that_it_has_none() -> None:
    with pytest.raises(InvalidInput, match="this model has: none"):
        select_prompt(EmbedOptions(prompt_name="query"), MODEL)


@given(TABLES, st.text(max_size=8), st.none() | NAMES)
def test_an_explicit_prompt_is_used_unchanged(
    prompts: dict[str, str], own: str, default: str | None
) -> None:
    known = default if default in prompts else None

    assert select_prompt(EmbedOptions(prompt=own), model(prompts, known)) == own


@given(TABLES, NAMES)
def test_a_name_gives_its_text_or_is_refused(prompts: dict[str, str], name: str) -> None:
    options = EmbedOptions(prompt_name=name)
    if name in prompts:
        assert select_prompt(options, model(prompts)) == prompts[name]
    else:
        with pytest.raises(InvalidInput):
            select_prompt(options, model(prompts))


@given(TABLES, st.sampled_from(InputType), st.none() | NAMES)
def test_an_input_type_is_never_refused_and_never_uses_the_default(
    prompts: dict[str, str], kind: InputType, default: str | None
) -> None:
    known = default if default in prompts else None
    found = select_prompt(EmbedOptions(input_type=kind), model(prompts, known))

    assert found == prompts.get(kind.value, "")


@given(TABLES)
def test_the_default_prompt_applies_if_a_request_gives_none(prompts: dict[str, str]) -> None:
    for name, text in prompts.items():
        assert select_prompt(EmbedOptions(), model(prompts, name)) == text
    assert select_prompt(EmbedOptions(), model(prompts)) == ""

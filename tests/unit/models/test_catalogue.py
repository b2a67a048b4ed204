"""The names of catalogue models, and the pins of every row."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.models.catalogue import CATALOGUE, find_row, model_names
from embedder.models.catalogue_row import CatalogueRow
from embedder.settings.model import ModelSettings, PoolingName

every_row = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.alias)
NAMES = st.sampled_from(["alias", "repository", "directory"])


def test_the_default_model_is_the_first_row() -> None:
    assert find_row(ModelSettings().name) is CATALOGUE[0]


def test_no_two_rows_of_the_catalogue_share_a_name() -> None:
    known = [name for row in CATALOGUE for name in {row.alias, row.repository}]

    assert len(known) == len(set(known))
    assert find_row("no-such-model") is None


@every_row
def test_a_row_is_found_by_its_exact_alias_or_repository(row: CatalogueRow) -> None:
    assert find_row(row.alias) is find_row(row.repository) is row
    assert find_row(row.alias.swapcase()) is None


@every_row
def test_a_row_pins_a_commit_and_exact_weights(row: CatalogueRow) -> None:
    digits = {40: row.revision} | ({64: row.sha256} if row.sha256 else {})

    for length, text in digits.items():
        assert len(text) == length
        assert set(text) <= set("0123456789abcdef")
        assert len(set(text)) > 8, "a placeholder, not a digest"


@every_row
def test_a_row_names_a_repository_and_an_alias_that_settings_and_urls_can_hold(
    row: CatalogueRow,
) -> None:
    owner, _, name = row.repository.partition("/")

    assert all(part and part == part.strip("./~ ") for part in (owner, name, row.alias))
    assert "/" not in f"{name}{row.alias}"
    assert ModelSettings(name=row.alias, revision=row.revision, sha256=row.sha256)


@every_row
def test_a_row_has_valid_widths_pooling_and_licence(row: CatalogueRow) -> None:
    assert row.pooling in get_args(PoolingName)
    assert min(row.width, row.max_tokens, row.parameters) > 0
    assert all(0 < width <= row.width for width in row.matryoshka)
    assert list(row.matryoshka) == sorted(set(row.matryoshka), reverse=True)
    assert row.licence


@every_row
def test_a_row_has_no_duplicate_and_no_empty_prompt(row: CatalogueRow) -> None:
    assert len(dict(row.prompts)) == len(row.prompts)
    assert all(name and text for name, text in row.prompts)


@every_row
def test_the_published_vectors_of_a_row_fit_into_one_of_unit_length(row: CatalogueRow) -> None:
    for golden in row.golden:
        assert golden.text
        assert 0 < len(golden.vector) <= row.width
        assert 0 < sum(part * part for part in golden.vector) <= 1.0001


def test_a_known_model_is_called_by_its_alias_and_its_repository() -> None:
    row = CATALOGUE[0]

    assert model_names(ModelSettings(name=row.alias)) == (row.alias, row.repository)
    assert model_names(ModelSettings(name=row.repository)) == (row.alias, row.repository)


def test_an_unknown_model_is_called_by_its_folder_and_as_the_settings_name_it() -> None:
    assert model_names(ModelSettings(name="/models/mine/")) == ("mine", "/models/mine/")
    assert model_names(ModelSettings(name="someone/else")) == ("else", "someone/else")
    assert model_names(ModelSettings(name="mine")) == ("mine",)


@given(st.sampled_from(CATALOGUE), NAMES, st.none() | st.sampled_from(["house", "/models/mine"]))
def test_the_operator_s_alias_comes_first_and_no_name_twice(
    row: CatalogueRow, kind: str, alias: str | None
) -> None:
    name = {"alias": row.alias, "repository": row.repository, "directory": "/models/mine"}[kind]

    called = model_names(ModelSettings(name=name, alias=alias))

    assert name in called
    assert len(called) == len(set(called))
    if alias is not None:
        assert called[0] == alias
        assert set(called) == {alias, *model_names(ModelSettings(name=name))}

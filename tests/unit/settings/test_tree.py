"""The structure of a settings tree follows from its types; unknown names get suggestions."""

from __future__ import annotations

from typing import Annotated, Literal, Optional, Union

import pytest
from pydantic import Field

from embedder.settings.model import EmbedderSettings, ModelSettings
from embedder.settings.tree import (
    Settings,
    choices,
    is_section,
    place_of,
    settings_of,
    suggestions,
    type_at,
)


class Leaf(Settings):
    """A section."""

    size: int = 1
    names: dict[str, str] = Field({})


class Root(Settings):
    """A tree with fields of every kind."""

    first: Leaf = Leaf()
    title: Annotated[str, Field(min_length=1)] = "x"
    others: list[Leaf] = Field([])
    maybe: Leaf | None = None
    last: int | None = None


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, {int}),
        (int | None, {int, type(None)}),
        (Optional[str], {str, type(None)}),  # noqa: UP045
        (Union[int, Annotated[str, "x"]], {int, str}),  # noqa: UP007
        (Literal["a"] | float, {Literal["a"], float}),
    ],
)
def test_choices_of_unions(annotation: object, expected: set[object]) -> None:
    assert set(choices(annotation)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("first",), Leaf),
        (("first", "size"), int),
        (("first", "names", "anything"), str),
        (("others", "0", "size"), int),
        (("maybe", "size"), int),
        (("title", "x"), None),
        (("nothing",), None),
        (("nothing", "size"), None),
    ],
)
def test_paths_lead_through_sections_lists_and_mappings(
    path: tuple[str, ...], expected: object
) -> None:
    assert type_at(Root, path) is expected


def test_optional_nodes_and_mappings_are_not_sections() -> None:
    assert is_section(Root, ())
    assert is_section(Root, ("first",))
    assert not is_section(Root, ("maybe",))
    assert not is_section(Root, ("first", "names"))


def test_settings_come_in_the_order_of_definition() -> None:
    assert [".".join(path) for path, _ in settings_of(Root)] == [
        "first.size",
        "first.names",
        "title",
        "others",
        "maybe",
        "last",
    ]


@pytest.mark.parametrize(
    ("location", "unknown", "expected"),
    [
        (("first", "size"), False, ("first", "size")),
        (("last", "literal['x']"), False, ("last",)),
        (("others", 0, "size"), False, ("others", "0", "size")),
        (("maybe", "Leaf", "size"), False, ("maybe", "size")),
        (("others", 0, "sise"), True, ("others", "0", "sise")),
        ((), False, ()),
    ],
)
def test_names_of_choices_are_left_out_of_paths(
    location: tuple[int | str, ...], unknown: bool, expected: tuple[str, ...]
) -> None:
    assert place_of(Root, location, unknown=unknown) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("batching.max_token", ["batching.max_tokens"]),
        ("batchin", ["batching"]),
        ("max_tokens", ["model.max_tokens", "batching.max_tokens"]),
        ("batching_max_tokens", ["batching.max_tokens"]),
        ("cache.dtype", ["backend.dtype"]),
        ("cache.qqqqqqqq", []),
        ("model.name.x", ["model.name"]),
        ("qqqq.x", []),
    ],
)
def test_suggestions_for_unknown_paths(path: str, expected: list[str]) -> None:
    assert suggestions(EmbedderSettings, tuple(path.split("."))) == expected


def test_every_setting_of_the_library_has_a_type() -> None:
    paths = [path for path, _ in settings_of(EmbedderSettings)]

    assert all(type_at(EmbedderSettings, path) is not None for path in paths)
    assert len([path for path in paths if path[0] == "model"]) == len(ModelSettings.model_fields)

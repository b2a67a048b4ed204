"""The names that a user of the library may rely on."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

import embedder


def test_all_lists_exactly_the_public_names_in_order() -> None:
    public = [
        name
        for name in dir(embedder)
        if not name.startswith("_") and not isinstance(getattr(embedder, name), ModuleType)
    ]

    assert embedder.__all__ == sorted(public)


def test_a_name_is_looked_up_where_type_checkers_are_told_it_is() -> None:
    source = ast.parse(Path(embedder.__file__).read_text())
    told = {
        (alias.name, node.module)
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert told == {(name, embedder._HOMES[name]) for name in embedder.__all__}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'embedder' has no attribute 'Embedding'"):
        _ = embedder.Embedding


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in embedder.__all__ if not getattr(embedder, name).__doc__]

    assert silent == []

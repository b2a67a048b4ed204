"""The public names of the library."""

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


def test_names_are_imported_from_where_type_checkers_find_them() -> None:
    source = ast.parse(Path(embedder.__file__).read_text())
    declared = {
        (alias.name, node.module)
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert declared == {(name, embedder._HOMES[name]) for name in embedder.__all__}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'embedder' has no attribute 'Embedding'"):
        _ = embedder.Embedding


def test_every_public_name_has_a_docstring() -> None:
    undocumented = [name for name in embedder.__all__ if not getattr(embedder, name).__doc__]

    assert undocumented == []

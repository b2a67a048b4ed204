"""The names that a user of the library may rely on."""

from __future__ import annotations

from types import ModuleType

import embedder


def test_all_lists_exactly_the_public_names_in_order() -> None:
    public = [
        name
        for name, value in vars(embedder).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]

    assert embedder.__all__ == sorted(public)


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in embedder.__all__ if not getattr(embedder, name).__doc__]

    assert silent == []

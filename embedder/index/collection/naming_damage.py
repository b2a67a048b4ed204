"""Damage that was found in a collection names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedder.core.storage_errors import StorageDamaged


@contextmanager
def naming(collection: str) -> Iterator[None]:
    """Add the name of a collection to an error about damaged rows."""
    try:
        yield
    except StorageDamaged as error:
        raise error.of(collection) from error

"""Entries whose content follows from a number, so that a wrong entry is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from embedder.cache.store.records import FOREVER, KEY_BYTES, TAG_BYTES, Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries

TAG = b"tag of a"
OTHER_TAG = b"tag of b"

Row = tuple[list[float] | bytes, int, bool]


def key(number: int, tag: bytes = TAG) -> bytes:
    """Return the key of a number under a model's tag."""
    return tag + hashlib.blake2b(b"%d" % number, digest_size=KEY_BYTES - TAG_BYTES).digest()


def keys(numbers: Iterable[int], tag: bytes = TAG) -> list[bytes]:
    """Return the keys of numbers under a model's tag."""
    return [key(number, tag) for number in numbers]


def row(number: int, width: int = 4, version: int = 0) -> Row:
    """Return the content of an entry; its last component is the version.

    A row of width `RAGGED` has up to four components before it.
    """
    if width == RAGGED:
        components = [float(number)] * (number % 5) + [float(version)]
        return np.array(components, np.float32).tobytes(), number % 1000, number % 2 == 0
    return [float(number)] * (width - 1) + [float(version)], number % 1000, number % 2 == 0


def entries(numbers: Sequence[int], width: int = 4, version: int = 0) -> Entries:
    """Return the entries of numbers."""
    rows = [row(number, width, version) for number in numbers]
    given = Entries.allocate(len(rows), width)
    if rows:
        given.vectors[:] = [vector for vector, _, _ in rows]
    return Entries(
        given.vectors,
        np.array([count for _, count, _ in rows], np.int32),
        np.array([truncated for _, _, truncated in rows], np.bool_),
    )


def records(
    numbers: Sequence[int],
    width: int = 4,
    *,
    ttls_s: float = FOREVER,
    version: int = 0,
    tag: bytes = TAG,
) -> Records:
    """Return the records of numbers, all with the same time to live."""
    lives = np.full(len(numbers), ttls_s, np.float64)
    return Records(keys(numbers, tag), entries(numbers, width, version), lives)


def rows_of(given: Entries) -> list[Row]:
    """Return the content of entries, row by row."""
    return list(
        zip(
            given.vectors.tolist(),
            given.token_counts.tolist(),
            given.truncated.tolist(),
            strict=True,
        )
    )


def by_key(every: Iterable[Records]) -> dict[bytes, Row]:
    """Return the content of records by key; the first occurrence of a key counts."""
    found: dict[bytes, Row] = {}
    for given in every:
        for name, content in zip(given.keys, rows_of(given.entries), strict=True):
            found.setdefault(name, content)
    return found

"""The records of the index: what is stored, asked and found; and what may never be stored.

Knows nothing of FAISS or of how records are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import orjson

from embedder.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.types import Vectors

MAX_ID_BYTES = 255
MAX_NAME_CHARACTERS = 63
MAX_TOP_K = 1000
MAX_METADATA_BYTES = 65_536
MAX_METADATA_DEPTH = 16
MAX_NORM = 1e18
"""Beyond this, squared distances overflow float32 and FAISS finds nothing."""

# \Z rather than $: the latter lets a trailing newline through.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


class Metric(str, Enum):
    """How near two vectors are."""

    COSINE = "cosine"
    DOT = "dot"
    L2 = "l2"
    L1 = "l1"


@dataclass(frozen=True, slots=True)
class Points:
    """Some points of one collection: a row of ``vectors`` float32[n, d] and an id each."""

    ids: Sequence[str]
    vectors: Vectors
    texts: Sequence[str | None]
    metadata: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the ``top_k`` points nearest to ``vector`` float32[d].

    ``field`` is what the caller calls the vector, for errors.
    """

    collection: str
    vector: Vectors
    top_k: int
    field: str = "vector"


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that was found. ``score`` is larger for nearer; ``distance`` is None without one."""

    id: str
    score: float
    distance: float | None
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is known of a collection; ``width`` is None until it holds a vector."""

    name: str
    metric: Metric
    kind: str
    width: int | None
    count: int
    sequence: int


def check_name(name: str) -> None:
    """Refuse a name of a collection that is not plain.

    Raises:
        InvalidInput: it has other characters than letters, digits, '_', '.', '-', or too many.
    """
    if len(name) > MAX_NAME_CHARACTERS:
        raise LimitExceeded("collection", "characters", len(name), MAX_NAME_CHARACTERS)
    if not _NAME.match(name) or ".." in name:
        raise InvalidInput(
            "collection",
            "must begin with a letter or digit and go on with letters, digits, '_', '-' or single "
            "dots",
        )


def check_ids(ids: Sequence[str]) -> None:
    """Refuse ids that are empty, too long or not UTF-8.

    Raises:
        InvalidInput: the error names the point.
    """
    for row, name in enumerate(ids):
        where = f"points[{row}].id"
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise InvalidInput(where, f"has a lone surrogate at character {error.start}") from None
        if size == 0:
            raise InvalidInput(where, "must not be empty")
        if size > MAX_ID_BYTES:
            raise LimitExceeded(where, "bytes", size, MAX_ID_BYTES)


def check_metadata(metadata: Sequence[dict[str, Any]]) -> None:
    """Refuse metadata that is too large, too deep, or not JSON.

    Raises:
        InvalidInput: the error names the point.
    """
    for row, value in enumerate(metadata):
        where = f"points[{row}].metadata"
        if (depth := _depth(value)) > MAX_METADATA_DEPTH:
            raise LimitExceeded(where, "levels", depth, MAX_METADATA_DEPTH)
        try:
            size = len(orjson.dumps(value))
        except TypeError as error:
            raise InvalidInput(where, f"is not JSON: {error}") from None
        if size > MAX_METADATA_BYTES:
            raise LimitExceeded(where, "bytes", size, MAX_METADATA_BYTES)


def _depth(value: Any) -> int:
    """Count the levels of nesting, without recursion: the value may be as deep as it likes."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def check_vectors(
    vectors: Vectors, *, width: int | None, metric: Metric, names: Sequence[str]
) -> None:
    """Refuse vectors that the metric cannot place; ``names`` are what the caller calls each row.

    Raises:
        InvalidVector: wrong width, not finite, or without a direction where one is needed.
    """
    if width is not None and len(vectors) and vectors.shape[1] != width:
        raise InvalidVector(
            names[0], f"has {vectors.shape[1]} components; the collection has {width}"
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for row in np.flatnonzero(~np.isfinite(norms)).tolist():
        raise InvalidVector(names[row], "has a component that is not finite")
    for row in np.flatnonzero(norms > MAX_NORM).tolist():
        raise InvalidVector(names[row], f"has length {norms[row]:.3g}; the limit is {MAX_NORM:.0e}")
    if metric is Metric.COSINE:
        for row in np.flatnonzero(norms == 0).tolist():
            raise InvalidVector(names[row], "is all zeros, which has no direction for a cosine")

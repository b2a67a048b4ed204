"""Refuses points, queries and names that the index cannot store or answer.

Every error names the item and the limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.core.types import Vectors
from embedder.core.utf8 import encode
from embedder.core.vectors import row_norms
from embedder.index.contract.kinds import INVERTED
from embedder.index.contract.limits import (
    MAX_ID_BYTES,
    MAX_KEY_CHARACTERS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_NAME_CHARACTERS,
    MAX_NORM,
    MAX_TOP_K,
    MAX_WIDTH,
)
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.contract.sparse import check_sparse

_NESTED = (dict, list, tuple)
# \Z rather than $: the latter lets a trailing newline through.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


def check_spec(spec: Spec) -> None:
    """Refuse properties of a collection that cannot be created.

    FAISS aborts the process for some pairs of kind and metric, and silently computes another metric
    for a few: only pairs that pass this check are ever built.

    Raises:
        InvalidInput: the kind does not support the metric, the width is not 1 to `MAX_WIDTH`, or
            the name of the model has a lone surrogate.
    """
    if spec.metric is Metric.L1 and spec.kind in INVERTED:
        raise InvalidInput(
            "index",
            f"is {spec.kind.value}, which does not support the metric l1: use flat, hnsw or auto",
        )
    if spec.width is not None and not 1 <= spec.width <= MAX_WIDTH:
        raise InvalidInput("width", f"is {spec.width}; it must be 1 to {MAX_WIDTH}")
    byte_count(spec.model or "", "model")


def check_points(points: Points, *, width: int | None, metric: Metric) -> None:
    """Refuse a request if any of its points cannot be stored.

    Raises:
        InvalidInput: there are no points, or one of them is invalid.
    """
    if not points.ids:
        raise InvalidInput("points", "must not be empty")
    check_ids(points.ids)
    check_distinct(points.ids)
    for row, text in enumerate(points.texts):
        if text is not None:
            byte_count(text, f"points[{row}].text")
    check_metadata(points.metadata)
    if points.sparse:
        check_sparse(points.sparse, [f"points[{row}].text" for row in range(len(points.ids))])
    names = [f"points[{row}].vector" for row in range(len(points.ids))]
    check_vectors(points.vectors, width=width, metric=metric, names=names)


def check_query(query: Query) -> None:
    """Refuse a query with numbers out of range; `check_vectors` checks its vector.

    Raises:
        InvalidInput: a number is out of range, or not exactly one of vector and id is given.
    """
    if not 1 <= query.top_k <= MAX_TOP_K:
        raise InvalidInput("top_k", f"is {query.top_k}; it must be 1 to {MAX_TOP_K}")
    if query.diversity is not None and not 0 <= query.diversity <= 1:
        raise InvalidInput("diversity", f"is {query.diversity}; it must be between 0 and 1")
    if query.threshold is not None and not np.isfinite(query.threshold):
        raise InvalidInput("threshold", "must be a finite number")
    if (query.vector is None) == (query.id is None):
        raise InvalidInput(query.field, "or an id must be given, but not both")
    if query.id is not None:
        check_ids([query.id], query.field.removesuffix("vector") + "id")


def check_name(name: str) -> None:
    """Refuse a name of a collection that could be a path, or is too long.

    Raises:
        InvalidInput: it has other characters than letters, digits, '_', '.', '-', or too many.
    """
    if len(name) > MAX_NAME_CHARACTERS:
        raise LimitExceeded("collection", "characters", len(name), MAX_NAME_CHARACTERS)
    if not _NAME.match(name) or ".." in name:
        raise InvalidInput(
            "collection",
            "must begin with a letter or digit, and contain only letters, digits, '_', '-' and "
            "single dots",
        )


def check_ids(ids: Sequence[str], field: str = "points[{}].id") -> None:
    """Refuse ids that are empty, too long or not UTF-8; ``field`` formats the name of the n-th.

    Raises:
        InvalidInput: an id is invalid.
    """
    for row, name in enumerate(ids):
        where = field.format(row)
        size = byte_count(name, where)
        if size == 0:
            raise InvalidInput(where, "must not be empty")
        if size > MAX_ID_BYTES:
            raise LimitExceeded(where, "bytes", size, MAX_ID_BYTES)


def check_distinct(ids: Sequence[str]) -> None:
    """Refuse an id that is given twice.

    Raises:
        InvalidInput: two points have the same id; the error names the second.
    """
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise InvalidInput(f"points[{row}].id", f"is the same as that of points[{first[name]}]")


def byte_count(text: str, field: str) -> int:
    """Return the length of a text in UTF-8; ``field`` is its name in errors.

    Raises:
        InvalidInput: it has a lone surrogate.
    """
    return len(encode(field, text))


def check_metadata(metadata: Sequence[dict[str, Any]]) -> None:
    """Refuse metadata that is too large, too deep, not JSON, or has a key that no filter can name.

    Raises:
        InvalidInput: the metadata of a point is invalid.
    """
    for row, value in enumerate(metadata):
        where = f"points[{row}].metadata"
        _check_nesting(value, where)
        try:
            size = len(orjson.dumps(value))
        except TypeError as error:
            raise InvalidInput(where, f"is not JSON: {error}") from None
        if size > MAX_METADATA_BYTES:
            raise LimitExceeded(where, "bytes", size, MAX_METADATA_BYTES)


def _check_nesting(value: Any, where: str) -> None:
    """Check every level of a value, without recursion, because its depth is not limited yet."""
    depth, level = 0, [value] if isinstance(value, _NESTED) else []
    while level:
        depth += 1
        if depth > MAX_METADATA_DEPTH:
            raise LimitExceeded(where, "or more levels", depth, MAX_METADATA_DEPTH)
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                _check_keys(item, where)
            for child in item.values() if isinstance(item, dict) else item:
                if isinstance(child, _NESTED):
                    inner.append(child)
                elif isinstance(child, float) and not math.isfinite(child):
                    problem = "has a number that is not finite, which JSON cannot represent"
                    raise InvalidInput(where, problem)
        level = inner


def _check_keys(keys: Iterable[object], where: str) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise InvalidInput(where, f"is not JSON: its key {key!r} is not text")
        if not key:
            raise InvalidInput(where, "has an empty key, which no filter can name")
        if len(key) > MAX_KEY_CHARACTERS:
            raise LimitExceeded(where, "characters in a key", len(key), MAX_KEY_CHARACTERS)


def check_vectors(
    vectors: Vectors, *, width: int | None, metric: Metric, names: Sequence[str]
) -> NDArray[np.float64]:
    """Return the lengths float64[n] of vectors; ``names`` are the rows' names in errors.

    Raises:
        InvalidVector: a vector has another width, is not finite or too long, or is all zeros, for
            which the cosine is not defined.
    """
    if len(vectors) and not 1 <= vectors.shape[1] <= MAX_WIDTH:
        raise InvalidVector(
            names[0], f"has {vectors.shape[1]} components; it must have 1 to {MAX_WIDTH}"
        )
    if width is not None and len(vectors) and vectors.shape[1] != width:
        raise InvalidVector(
            names[0], f"has {vectors.shape[1]} components; the collection has {width}"
        )
    norms = row_norms(vectors)
    least = 0.0 if metric is Metric.COSINE else -1.0
    # Faster than numpy for one vector, the usual case. NaN fails both comparisons.
    if not all(least < norm <= MAX_NORM for norm in norms.tolist()):
        _refuse(norms, names)
    return norms


def _refuse(norms: NDArray[np.float64], names: Sequence[str]) -> NoReturn:
    for row in np.flatnonzero(~np.isfinite(norms)).tolist():
        raise InvalidVector(names[row], "has a component that is not finite")
    for row in np.flatnonzero(norms > MAX_NORM).tolist():
        raise InvalidVector(names[row], f"has length {norms[row]:.3g}; the limit is {MAX_NORM:.0e}")
    row = int(np.flatnonzero(norms == 0)[0])
    raise InvalidVector(names[row], "is all zeros, for which the cosine is not defined")

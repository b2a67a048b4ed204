"""Truncation of vectors to fewer dimensions, normalization, and the activation of scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.outputs import ActivationName
from embedder.core.types import ModelInfo, Vectors

BLOCK_COMPONENTS = 2**15
"""Components in double precision at once, few enough for the processor's cache."""


def check_dimensions(dimensions: int | None, model: ModelInfo) -> None:
    """Refuse a number of dimensions that the model was not trained to be truncated to.

    Raises:
        InvalidInput: ``dimensions`` is neither the full width nor a Matryoshka width.
    """
    if dimensions is None or dimensions == model.width or dimensions in model.matryoshka:
        return
    if model.matryoshka:
        widths = _in_words({*model.matryoshka, model.width})
        raise InvalidInput("dimensions", f"is {dimensions}; {model.name!r} has widths {widths}")
    raise InvalidInput(
        "dimensions",
        f"is {dimensions}; {model.name!r} has width {model.width} only: it was not trained to be "
        "cut (the setting model.matryoshka lists the widths of a model that was)",
    )


def _in_words(widths: Collection[int]) -> str:
    """Return widths in descending order, with consecutive ones as a range."""
    runs: list[tuple[int, int]] = []
    for width in sorted(widths, reverse=True):
        if runs and runs[-1][1] == width + 1:
            runs[-1] = (runs[-1][0], width)
        else:
            runs.append((width, width))
    return ", ".join(f"{first} to {last}" if first > last else str(first) for first, last in runs)


def truncate_and_normalize(vectors: Vectors, *, dimensions: int | None, normalize: bool) -> Vectors:
    """Return the first ``dimensions`` components, with ``normalize`` scaled to unit length.

    A row of zeros stays zero. The result never shares memory with ``vectors``.
    """
    kept = vectors if dimensions is None else vectors[:, :dimensions]
    return normalize_rows(kept) if normalize else kept.copy()


def activate(scores: Vectors, name: ActivationName) -> Vectors:
    """Return the scores after an activation; `identity` returns the same array."""
    match name:
        case "identity":
            return scores
        case "sigmoid":
            # Neither overflows nor rounds small scores to 0, which would make their order random.
            activated: Vectors = np.exp(-np.logaddexp(np.float32(0), -scores))
            return activated
        case "tanh":
            return np.tanh(scores)
        case "relu":
            return np.maximum(scores, np.float32(0))


def row_norms(vectors: Vectors) -> NDArray[np.float64]:
    """Return the Euclidean length of every row, float64[n]."""
    if vectors.size > BLOCK_COMPONENTS and len(vectors) > 1:
        return np.concatenate([row_norms(vectors[rows]) for rows in _blocks(vectors)])
    # In double precision, because squares of small numbers underflow in float32.
    wide = vectors.astype(np.float64)
    norms: NDArray[np.float64] = np.sqrt(np.vecdot(wide, wide))
    return norms


def normalize_rows(vectors: Vectors, norms: NDArray[np.float64] | None = None) -> Vectors:
    """Return a copy with every row scaled to Euclidean length 1; rows of zeros stay zero.

    ``norms`` may give the result of `row_norms`, if it contains no 0.
    """
    if norms is None:
        norms = row_norms(vectors)
        norms[norms == 0] = 1.0
    if vectors.size <= BLOCK_COMPONENTS:
        wide = vectors.astype(np.float64)
        wide /= norms[:, None]
        return wide.astype(np.float32)
    out = np.empty(vectors.shape, np.float32)
    for rows in _blocks(vectors):
        np.divide(vectors[rows], norms[rows, None], out=out[rows], casting="same_kind")
    return out


def _blocks(vectors: Vectors) -> Iterable[slice]:
    count, width = vectors.shape
    rows = max(1, BLOCK_COMPONENTS // max(1, width))
    return map(slice, range(0, count, rows), range(rows, count + rows, rows))

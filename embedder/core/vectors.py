"""From full-width vectors to what the caller asked for: fewer dimensions, unit length.

Arrays in, arrays out. Knows nothing of models, encodings or JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import ModelInfo, Vectors

CACHED_COMPONENTS = 2**15
"""How many numbers are in double precision at once: few enough to stay in the processor's cache."""


def check_dimensions(dimensions: int | None, model: ModelInfo) -> None:
    """Refuse a width that the model was not trained to be cut to; its full width always goes.

    Raises:
        InvalidInput: ``dimensions`` is no width of the model's.
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
    """Return widths in descending order, those in a row as a range."""
    runs: list[tuple[int, int]] = []
    for width in sorted(widths, reverse=True):
        if runs and runs[-1][1] == width + 1:
            runs[-1] = (runs[-1][0], width)
        else:
            runs.append((width, width))
    return ", ".join(f"{first} to {last}" if first > last else str(first) for first, last in runs)


def truncate_and_normalize(vectors: Vectors, *, dimensions: int | None, normalize: bool) -> Vectors:
    """Keep the first ``dimensions`` components, then scale every row to unit length.

    A row of zeros stays zero. The answer never shares memory with the argument.
    """
    kept = vectors if dimensions is None else vectors[:, :dimensions]
    return normalize_rows(kept) if normalize else kept.copy()


def row_norms(vectors: Vectors) -> NDArray[np.float64]:
    """Return the Euclidean length of every row, float64[n]."""
    norms = np.empty(len(vectors), np.float64)
    for rows in _cached_rows(vectors):
        # In double precision: the squares of small float32 numbers vanish in single.
        wide = vectors[rows].astype(np.float64)
        np.einsum("nd,nd->n", wide, wide, out=norms[rows])
    return np.sqrt(norms, out=norms)


def normalize_rows(vectors: Vectors, norms: NDArray[np.float64] | None = None) -> Vectors:
    """Return a copy with every row scaled to Euclidean length 1; rows of zeros stay zero.

    ``norms`` are what `row_norms` says, where it was asked already and said 0 of none.
    """
    if norms is None:
        norms = row_norms(vectors)
        norms[norms == 0] = 1.0
    out = np.empty(vectors.shape, np.float32)
    for rows in _cached_rows(vectors):
        np.divide(vectors[rows], norms[rows, None], out=out[rows], casting="same_kind")
    return out


def _cached_rows(vectors: Vectors) -> Iterator[slice]:
    rows = max(1, CACHED_COMPONENTS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), rows):
        yield slice(start, start + rows)

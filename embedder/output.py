"""From full-width vectors to what the caller asked for: fewer dimensions, unit length.

Arrays in, arrays out. Knows nothing of models, encodings or JSON.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from embedder.errors import InvalidInput
from embedder.types import ModelInfo, Vectors

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


def finish(vectors: Vectors, *, dimensions: int | None, normalize: bool) -> Vectors:
    """Keep the first ``dimensions`` components, then scale every row to unit length.

    A row of zeros stays zero. The answer never shares memory with the argument.
    """
    kept = vectors if dimensions is None else vectors[:, :dimensions]
    return unit_rows(kept) if normalize else kept.copy()


def unit_rows(vectors: Vectors) -> Vectors:
    """Return a copy with every row scaled to Euclidean length 1; rows of zeros stay zero."""
    out = np.empty(vectors.shape, np.float32)
    rows = max(1, CACHED_COMPONENTS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), rows):
        # In double precision: the squares of small float32 numbers vanish in single.
        exact = vectors[start : start + rows].astype(np.float64)
        norms: NDArray[np.float64] = np.linalg.norm(exact, axis=1, keepdims=True)
        np.divide(exact, norms, out=exact, where=norms > 0)
        out[start : start + rows] = exact
    return out

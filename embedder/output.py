"""From full-width vectors to what the caller asked for: fewer dimensions, unit length.

Arrays in, arrays out. Knows nothing of models, encodings or JSON.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.errors import InvalidInput
from embedder.types import Vectors


def check_dimensions(dimensions: int | None, width: int) -> None:
    """Refuse a width that the model does not have.

    Raises:
        InvalidInput: ``dimensions`` is not between 1 and ``width``.
    """
    if dimensions is not None and not 1 <= dimensions <= width:
        raise InvalidInput("dimensions", f"is {dimensions}; it must be between 1 and {width}")


def finish(vectors: Vectors, *, dimensions: int | None, normalize: bool) -> Vectors:
    """Keep the first ``dimensions`` components, then scale every row to unit length.

    A row of zeros stays zero. The answer never shares memory with the argument.
    """
    kept = vectors if dimensions is None else vectors[:, :dimensions]
    return unit_rows(kept) if normalize else kept.copy()


def unit_rows(vectors: Vectors) -> Vectors:
    """Return a copy with every row scaled to Euclidean length 1; rows of zeros stay zero."""
    # In double precision: the squares of small float32 numbers vanish in single.
    exact = vectors.astype(np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(exact, axis=1, keepdims=True)
    return np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 0).astype(np.float32)

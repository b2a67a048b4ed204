"""The choice between fast kernels and plain ones: fast ones only if their vectors are accurate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from embedder.backends.precision import min_cosine
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.types import Vectors


@dataclass(frozen=True, slots=True)
class KernelSelection:
    """The least cosine to float32, why plain kernels were selected, and the fast kernels' error."""

    cosine: float
    why_plain: str | None = None
    error: BackendFailure | None = None


def select_kernels(
    encode: Callable[[], Vectors],
    expected: Vectors,
    use_plain_kernels: Callable[[], None],
    *,
    least: float,
) -> KernelSelection:
    """Switch to plain kernels if the fast ones fail or their cosine is below ``least``.

    ``encode`` computes the reference batch; ``expected`` are its vectors in float32.

    Raises:
        OutOfMemory: the reference batch does not fit, which plain kernels would not change.
        BackendFailure: the plain kernels fail too.
    """
    error: BackendFailure | None = None
    try:
        cosine = min_cosine(expected, encode())
    except OutOfMemory:
        raise
    except BackendFailure as raised:
        # Some releases of torch refuse a shape or take other arguments.
        error, cosine = raised, math.nan
    if cosine >= least:
        return KernelSelection(cosine)
    why = "they fail" if error else f"the cosine to float32 is only {cosine:.5f}"
    use_plain_kernels()
    return KernelSelection(min_cosine(expected, encode()), why, error)

"""Whether fast kernels stay: they do where a probe agrees with float32, else plain ones compute.

Knows neither the kernels nor the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from embedder.backends.precision import min_cosine
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.types import Vectors


@dataclass(frozen=True, slots=True)
class KernelSelection:
    """How far a probe agrees now, why plain kernels compute if they do, and what was raised."""

    cosine: float
    why_plain: str | None = None
    error: BackendFailure | None = None


def select_kernels(
    probed: Callable[[], Vectors],
    expected: Vectors,
    use_plain_kernels: Callable[[], None],
    *,
    least: float,
) -> KernelSelection:
    """Compare a probe with float32, and once more by plain kernels where ``least`` is missed.

    Raises:
        OutOfMemory: a probe does not fit, which no kernel is to blame for.
        BackendFailure: plain kernels fail too.
    """
    error: BackendFailure | None = None
    try:
        cosine = min_cosine(expected, probed())
    except OutOfMemory:
        raise
    except BackendFailure as raised:
        # A release of torch may refuse a shape, or take other arguments.
        error, cosine = raised, math.nan
    if cosine >= least:
        return KernelSelection(cosine)
    why = "they fail" if error else f"a probe agrees with float32 to {cosine:.5f} only"
    use_plain_kernels()
    return KernelSelection(min_cosine(expected, probed()), why, error)

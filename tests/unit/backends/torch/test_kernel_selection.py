"""Fast kernels stay where a probe agrees; else plain ones compute, and it is said why."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.backends.torch.kernel_selection import KernelSelection, select_kernels
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.types import Vectors

EXACT = np.array([[1, 0], [0, 1]], np.float32)
ASTRAY = np.array([[1, 0], [3, 4]], np.float32)


class Kernels:
    """What computes one thing by fast kernels, and the right one by plain ones, if any does."""

    def __init__(self, fast: Vectors | Exception, plain: Vectors | Exception = EXACT) -> None:
        self.computing = fast
        self._plain = plain
        self.left = 0

    def probed(self) -> Vectors:
        """Compute the probe, or fail."""
        if isinstance(self.computing, Exception):
            raise self.computing
        return self.computing

    def leave(self) -> None:
        """Compute by plain kernels from now on."""
        self.left += 1
        self.computing = self._plain

    def settled(self) -> KernelSelection:
        """Settle on the fast kernels, or on plain ones."""
        return select_kernels(self.probed, EXACT, self.leave, least=0.999)


def test_kernels_that_agree_stay() -> None:
    kernels = Kernels(2 * EXACT)

    assert kernels.settled() == KernelSelection(1.0)
    assert kernels.left == 0


@pytest.mark.parametrize(
    ("astray", "said"), [(ASTRAY, "to 0.80000 only"), (EXACT * np.nan, "to nan only")]
)
def test_one_vector_that_goes_astray_is_enough_to_leave_them(astray: Vectors, said: str) -> None:
    kernels = Kernels(astray)

    settled = kernels.settled()

    assert (settled.cosine, settled.error, kernels.left) == (1.0, None, 1)
    assert settled.why_plain == f"a probe agrees with float32 {said}"


def test_kernels_that_fail_are_left() -> None:
    error = BackendFailure("RuntimeError: head")

    assert Kernels(error).settled() == KernelSelection(1.0, "they fail", error)


def test_a_probe_that_does_not_fit_is_no_fault_of_the_kernels() -> None:
    kernels = Kernels(OutOfMemory("9 GiB"))

    with pytest.raises(OutOfMemory):
        kernels.settled()
    assert kernels.left == 0


def test_what_plain_kernels_raise_is_raised() -> None:
    plain = BackendFailure("RuntimeError: illegal memory access")

    with pytest.raises(BackendFailure) as caught:
        Kernels(BackendFailure("RuntimeError: head"), plain).settled()
    assert caught.value is plain

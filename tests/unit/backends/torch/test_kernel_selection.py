"""Accurate fast kernels are selected; otherwise plain ones, with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.backends.precision import Agreement
from embedder.backends.torch.kernels import KernelSelection, select_kernels
from embedder.core.errors import BackendFailure, OutOfMemory
from embedder.core.outputs import OutputKind
from embedder.core.types import Vectors

EXACT = np.array([[1, 0], [0, 1]], np.float32)
SAME = Agreement(True, "the cosine to float32 is 1.00000", 1.0)
WRONG = np.array([[1, 0], [3, 4]], np.float32)


class Kernels:
    """Fast kernels that return given vectors or fail, and plain ones."""

    def __init__(self, fast: Vectors | Exception, plain: Vectors | Exception = EXACT) -> None:
        self._current = fast
        self._plain = plain
        self.switches = 0

    def encode(self) -> Vectors:
        """Return the vectors, or fail."""
        if isinstance(self._current, Exception):
            raise self._current
        return self._current

    def compare(self) -> Agreement:
        """Compare the vectors with exact ones."""
        return Agreement.of({OutputKind.DENSE: EXACT}, {OutputKind.DENSE: self.encode()})

    def use_plain(self) -> None:
        """Switch to plain kernels."""
        self.switches += 1
        self._current = self._plain

    def select(self) -> KernelSelection:
        """Select the fast kernels, or the plain ones."""
        return select_kernels(self.compare, self.use_plain)


def test_accurate_kernels_are_selected() -> None:
    kernels = Kernels(2 * EXACT)

    assert kernels.select() == KernelSelection(SAME)
    assert kernels.switches == 0


@pytest.mark.parametrize(("wrong", "cosine"), [(WRONG, "0.80000"), (EXACT * np.nan, "nan")])
def test_one_vector_that_goes_wrong_is_enough_for_plain_kernels(
    wrong: Vectors, cosine: str
) -> None:
    kernels = Kernels(wrong)

    selection = kernels.select()

    assert (selection.agreement, selection.error, kernels.switches) == (SAME, None, 1)
    assert selection.why_plain == f"the cosine to float32 is {cosine}"


def test_failing_kernels_are_replaced_by_plain_ones() -> None:
    error = BackendFailure("RuntimeError: head")

    assert Kernels(error).select() == KernelSelection(SAME, "they fail", error)


def test_out_of_memory_is_no_fault_of_the_kernels() -> None:
    kernels = Kernels(OutOfMemory("9 GiB"))

    with pytest.raises(OutOfMemory):
        kernels.select()
    assert kernels.switches == 0


def test_an_error_of_the_plain_kernels_is_raised() -> None:
    plain = BackendFailure("RuntimeError: illegal memory access")

    with pytest.raises(BackendFailure) as caught:
        Kernels(BackendFailure("RuntimeError: head"), plain).select()
    assert caught.value is plain

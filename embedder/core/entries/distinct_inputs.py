"""The distinct inputs of a request, each of which is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.outputs import OutputKind
from embedder.core.request import PromptedText
from embedder.core.types import Input, Truncate


@dataclass(frozen=True, slots=True)
class Asked:
    """The kind of each result of a request, and the number of its input, intp[m]."""

    kinds: list[OutputKind]
    inputs: NDArray[np.intp]

    @property
    def distinct_kinds(self) -> tuple[OutputKind, ...]:
        """Return the kinds in the order of `OutputKind`."""
        return tuple(kind for kind in OutputKind if kind in self.kinds)


@dataclass(frozen=True, slots=True)
class DistinctInputs:
    """The distinct inputs of one request, with the prompt in front of texts.

    ``rows`` are the rows of their first occurrence in the request. ``truncate`` is the end that is
    cut, as options and model decide. There is a key for each result: without ``asked``, that is
    the first output of the model for each input.
    """

    keys: list[bytes]
    rows: list[int]
    inputs: list[Input]
    truncate: Truncate
    asked: Asked | None = None

    @classmethod
    def of(
        cls, keys: Sequence[bytes], inputs: Sequence[Input], prompt: str, truncate: Truncate
    ) -> DistinctInputs:
        """Return the distinct inputs, with the first row of every key."""
        first_rows: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            first_rows.setdefault(key, row)
        rows = list(first_rows.values())
        distinct = list(map(inputs.__getitem__, rows))
        if prompt:
            join = PromptedText.of if truncate is Truncate.START else str.__add__
            distinct = [join(prompt, one) if isinstance(one, str) else one for one in distinct]
        return cls(list(first_rows), rows, distinct, truncate)

    def for_kinds(self, keys: Mapping[OutputKind, Sequence[bytes]]) -> DistinctInputs:
        """Return the same inputs with a result of each kind, kind after kind.

        ``keys`` are those of every input of the request, by kind.
        """
        count = len(self.rows)
        asked = Asked(
            [kind for kind in keys for _ in range(count)],
            np.tile(np.arange(count, dtype=np.intp), len(keys)),
        )
        own = [of_kind[row] for of_kind in keys.values() for row in self.rows]
        return DistinctInputs(own, self.rows, self.inputs, self.truncate, asked)

    def subset(self, numbers: list[int]) -> DistinctInputs:
        """Return the results of the given numbers, in their order, and their distinct inputs."""
        if numbers == list(range(len(self.keys))):
            return self
        keys, used, asked = [self.keys[number] for number in numbers], numbers, None
        if self.asked is not None:
            inputs, at = np.unique(self.asked.inputs[numbers], return_inverse=True)
            kinds = [self.asked.kinds[number] for number in numbers]
            used, asked = inputs.tolist(), Asked(kinds, at.astype(np.intp))
        return DistinctInputs(
            keys,
            [self.rows[number] for number in used],
            [self.inputs[number] for number in used],
            self.truncate,
            asked,
        )

    def inputs_of(self, numbers: list[int]) -> list[int]:
        """Return the numbers of the inputs that some results of several kinds need."""
        assert self.asked is not None
        used: list[int] = np.unique(self.asked.inputs[numbers]).tolist()
        return used

    def expand(self, keys: Sequence[bytes]) -> NDArray[np.intp]:
        """Return the number of the first result with each of ``keys``."""
        if len(self.inputs) == len(keys):  # all inputs of the request are distinct
            return np.arange(len(keys))
        numbers = dict(zip(self.keys, range(len(self.keys)), strict=True))
        return np.fromiter(map(numbers.__getitem__, keys), np.intp, len(keys))

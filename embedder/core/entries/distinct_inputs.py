"""The distinct inputs of a request, each of which is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.request import PromptedText
from embedder.core.types import Input, Truncate


@dataclass(frozen=True, slots=True)
class DistinctInputs:
    """The distinct inputs of one request, with the prompt in front of texts.

    ``rows`` are the rows of their first occurrence in the request. ``truncate`` is the end that is
    cut, as options and model decide.
    """

    keys: list[bytes]
    rows: list[int]
    inputs: list[Input]
    truncate: Truncate

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

    def subset(self, numbers: list[int]) -> DistinctInputs:
        """Return the distinct inputs of the given numbers, in their order."""
        if numbers == list(range(len(self.keys))):
            return self
        return DistinctInputs(
            [self.keys[number] for number in numbers],
            [self.rows[number] for number in numbers],
            [self.inputs[number] for number in numbers],
            self.truncate,
        )

    def expand(self, keys: Sequence[bytes]) -> NDArray[np.intp]:
        """Return the number of the distinct input of each of ``keys``."""
        numbers = dict(zip(self.keys, range(len(self.keys)), strict=True))
        return np.fromiter(map(numbers.__getitem__, keys), np.intp, len(keys))

"""A served name that is moved from one model to another, and whose vectors it may have."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.cluster.revisions import make_revisions, vectors_of

LEAST_COSINE = 0.999
"""Of a vector and the same text's vector in another batch, in bfloat16."""

NAME = "swapped"
SWITCH_S = 30.0
"""Seconds in which all ingresses move, after the first of them has."""


class SwappedModel:
    """The model behind `NAME`, and the vectors of ``texts`` from it and from the next one."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self._directories = make_revisions(folder)
        self._vectors = vectors_of(self._directories, texts)
        self._previous = self._current = self._directories[0]
        self._moved_s: float | None = None

    @property
    def entry(self) -> dict[str, object]:
        """Return the entry in the list of models."""
        return {"name": str(self._current), "alias": NAME, "pinned": True}

    @property
    def has_moved(self) -> bool:
        """Return whether the model was swapped and a vector of it has been seen."""
        return self._moved_s is not None

    def swap(self) -> None:
        """Expect the other model from now on, after a time with either."""
        self._previous = self._current
        (self._current,) = [one for one in self._directories if one != self._previous]
        self._moved_s = None

    def is_wrong(self, row: int, vector: Sequence[float], sent_s: float) -> bool:
        """Return whether no model that may have been asked at ``sent_s`` has this vector."""
        given = np.asarray(vector, np.float32)
        near = [
            name
            for name, vectors in self._vectors.items()
            if given.shape == vectors[row].shape and float(given @ vectors[row]) > LEAST_COSINE
        ]
        if self._current.name in near:
            self._moved_s = self._moved_s or time.monotonic()
            return False
        may_be_previous = self._moved_s is None or sent_s < self._moved_s + SWITCH_S
        return not (may_be_previous and self._previous.name in near)

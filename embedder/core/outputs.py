"""What a model computes of an input: the kinds of results, their rows, and tasks that need them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ActivationName = Literal["identity", "sigmoid", "tanh", "relu"]
"""The functions that scores may go through."""


class OutputKind(str, Enum):
    """A kind of result.

    ``DENSE`` is one vector for each input, ``SCORES`` one number for each label of a model,
    ``SPARSE`` a weight for each of some ids of the vocabulary, and ``TOKENS`` one vector for each
    token (multi-vector). ``CHUNKS`` is one dense vector for each chunk of an input that is read as
    a whole (late chunking): the files of no model name it, every model with mean pooling has it.
    """

    DENSE = "dense"
    SCORES = "scores"
    SPARSE = "sparse"
    TOKENS = "tokens"
    CHUNKS = "chunks"


@dataclass(frozen=True, slots=True, eq=False)
class RaggedRows:
    """n rows of different lengths, end to end: the entries of row i are offsets[i]:offsets[i + 1].

    ``values`` is float32[total, width] and ``offsets`` int64[n + 1], from 0 to total. A sparse
    row has a width of 1 and in ``ids``, int32[total], the vocabulary id of each weight, ascending.
    Rows of token vectors have no ids.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int32] | None = None

    @classmethod
    def of(
        cls,
        values: NDArray[np.float32],
        lengths: NDArray[np.integer],
        ids: NDArray[np.int32] | None = None,
    ) -> RaggedRows:
        """Return rows of the given lengths, whose sum is the number of ``values``."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets, ids)

    @classmethod
    def concatenate(cls, parts: Sequence[RaggedRows]) -> RaggedRows:
        """Return the rows of one or more parts, in order; all have ids, or none has."""
        if len(parts) == 1:
            return parts[0]
        ids = [part.ids for part in parts if part.ids is not None]
        return cls.of(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate(ids) if ids else None,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """Return the number of components of each entry."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return int64[n], the number of entries of each row."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Return the size of all arrays in bytes."""
        ids = 0 if self.ids is None else self.ids.nbytes
        return self.values.nbytes + self.offsets.nbytes + ids

    def take(self, rows: NDArray[np.intp] | slice) -> RaggedRows:
        """Return copies of the given rows, in the given order; a row may be given repeatedly."""
        lengths, starts = self.lengths[rows], self.offsets[:-1][rows]
        taken = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=taken[1:])
        entries = np.repeat(starts - taken[:-1], lengths) + np.arange(taken[-1])
        return RaggedRows(
            self.values[entries], taken, None if self.ids is None else self.ids[entries]
        )

    def split(self) -> list[RaggedRows]:
        """Return each row alone, with views into these arrays."""
        return [
            RaggedRows(
                self.values[start:stop],
                np.array([0, stop - start], np.int64),
                None if self.ids is None else self.ids[start:stop],
            )
            for start, stop in pairwise(self.offsets.tolist())
        ]


class Task(Enum):
    """What a request asks of a model; the value completes the sentence "it can …"."""

    EMBED = "compute dense vectors"
    EMBED_SPARSE = "compute sparse weights"
    EMBED_TOKENS = "compute token vectors"
    RERANK = "rank texts, as a cross-encoder with one label does"
    CLASSIFY = "classify texts, as a model with a label for each class does"


Tasks = frozenset[Task]
"""The tasks of a model."""

_NEEDED = {
    Task.EMBED: OutputKind.DENSE,
    Task.EMBED_SPARSE: OutputKind.SPARSE,
    Task.EMBED_TOKENS: OutputKind.TOKENS,
    Task.RERANK: OutputKind.SCORES,
    Task.CLASSIFY: OutputKind.SCORES,
}


def tasks_of(outputs: Collection[OutputKind], labels: Sequence[str]) -> Tasks:
    """Return the tasks of a model with these outputs; ``labels`` are those of its scores.

    Scores of one label classify too, as in text-embeddings-inference.
    """
    tasks = {task for task, kind in _NEEDED.items() if kind in outputs}
    return frozenset(tasks if len(labels) == 1 else tasks - {Task.RERANK})


def model_for(task: Task, models: Sequence[Tasks | None]) -> int | None:
    """Return the position of the model for a request that names none: the first with the task.

    ``models`` are the tasks of each served model, None while unknown. A model with unknown tasks
    counts as one with the task, because the answer must not depend on what has been loaded: load
    it, and choose again. None: no model has the task.
    """
    return next((at for at, tasks in enumerate(models) if tasks is None or task in tasks), None)

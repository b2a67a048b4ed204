"""Hits, records and tokens on their way between replicas, pickled a few at a time.

The pickler of Ray calls Python for each object: 256,000 hits would hold the event loops of both
ends for seconds. Here the sender pickles runs of rows in its own thread, Ray carries plain bytes,
and the receiver unpickles a run when it needs it. Knows nothing of calls.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Generic, TypeVar

from deployments.rpc.turns import Turns
from embedder.index.contract.points import Hit, Record
from embedder.inference.tokenization import Piece

T = TypeVar("T", Hit, Record, Piece)

RUN_ROWS = 8
RUN_CHARACTERS = 65_536
"""Rows of one run, which also ends at so many characters of text; metadata has 64 KiB a row."""


@dataclass(frozen=True, slots=True)
class Packed(Generic[T]):
    """Rows of one kind; `len` counts them, and each iteration unpickles them run by run."""

    kind: type[T]
    runs: list[bytes]
    count: int

    @classmethod
    def of(cls, kind: type[T], rows: Sequence[T]) -> Packed[T]:
        """Pack rows, in order."""
        # As tuples: an object of a class takes five times as long.
        values = attrgetter(*(field.name for field in fields(kind)))
        rows_of_runs = (list(map(values, run)) for run in _runs(rows))
        runs = [pickle.dumps(run, pickle.HIGHEST_PROTOCOL) for run in rows_of_runs]
        return cls(kind, runs, len(rows))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[T]:
        for run in self.runs:
            yield from self._unpickled(run)

    async def unpacked(self) -> list[T]:
        """Return all rows; the event loop serves others in between."""
        rows: list[T] = []
        turns = Turns()
        for run in self.runs:
            rows += self._unpickled(run)
            await turns.after(len(run))
        return rows

    def _unpickled(self, run: bytes) -> Iterable[T]:
        # From a replica of this service, as everything that Ray itself unpickles.
        return (self.kind(*values) for values in pickle.loads(run))  # noqa: S301


def _runs(rows: Sequence[T]) -> Iterator[list[T]]:
    run: list[T] = []
    characters = 0
    for row in rows:
        run.append(row)
        characters += len(row.text or "")
        if len(run) == RUN_ROWS or characters >= RUN_CHARACTERS:
            yield run
            run, characters = [], 0
    if run:
        yield run

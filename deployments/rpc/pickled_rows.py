"""Hits, records and tokens sent between replicas as pickled chunks of a few rows.

Ray's pickler calls Python code for each object: 256,000 hits would block the event loops of both
processes for seconds. Here the sender pickles chunks in its own thread, Ray transfers plain bytes,
and the receiver unpickles each chunk when it needs it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Generic, TypeVar

from deployments.rpc.cooperative_yield import CooperativeYield
from embedder.index.contract.points import Hit, Record
from embedder.inference.tokenization import OffsetToken

T = TypeVar("T", Hit, Record, OffsetToken)

CHUNK_ROWS = 8
CHUNK_CHARACTERS = 65_536
"""A chunk ends at so many rows, or at so many characters of text. Metadata adds at most 64 KiB per
row."""


@dataclass(frozen=True, slots=True)
class PickledRows(Generic[T]):
    """Rows of one class; `len` counts them, and each iteration unpickles them chunk by chunk."""

    kind: type[T]
    chunks: list[bytes]
    count: int

    @classmethod
    def of(cls, kind: type[T], rows: Sequence[T]) -> PickledRows[T]:
        """Pickle rows, in order."""
        # As tuples: pickling instances of a class takes five times as long.
        values = attrgetter(*(field.name for field in fields(kind)))
        rows_of_chunks = (list(map(values, chunk)) for chunk in _chunks(rows))
        chunks = [pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL) for chunk in rows_of_chunks]
        return cls(kind, chunks, len(rows))

    def __len__(self) -> int:
        return self.count

    @property
    def pickled_bytes(self) -> int:
        """Return the bytes of all chunks."""
        return sum(map(len, self.chunks))

    def __iter__(self) -> Iterator[T]:
        for chunk in self.chunks:
            yield from self._unpickle(chunk)

    async def unpickled(self) -> list[T]:
        """Return all rows; other requests run in between."""
        rows: list[T] = []
        yielding = CooperativeYield()
        for chunk in self.chunks:
            rows += self._unpickle(chunk)
            await yielding.after(len(chunk))
        return rows

    def _unpickle(self, chunk: bytes) -> Iterable[T]:
        # The bytes come from a replica of this service, like everything that Ray unpickles.
        return (self.kind(*values) for values in pickle.loads(chunk))  # noqa: S301


def _chunks(rows: Sequence[T]) -> Iterator[list[T]]:
    chunk: list[T] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += len(row.text or "")
        if len(chunk) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk

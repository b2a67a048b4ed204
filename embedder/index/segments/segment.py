"""A sealed segment: vectors that never change, in one FAISS index, searched without a lock.

Rows are in the order of their pks, so that a pk is found by bisection. What is deleted after
sealing is marked outside, in a bitmap that a search is given. Knows nothing of other segments, of
the truth, or of how an index is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import INVERTED, QUANTISED, IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import Positions, Scores, nearest_rows, rough_of

Bits = NDArray[np.uint8]
"""One bit a row, the first row in the lowest bit, as FAISS reads a bitmap."""


@dataclass(frozen=True, slots=True)
class SearchParams:
    """How hard a search tries, and on how many threads; ``probes`` None is an eighth of all."""

    hnsw: int = 64
    probes: int | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class PackedIds:
    """The ids of rows, end to end in UTF-8: a tenth of what as many strings take.

    ``bounds`` int64[n + 1] are where each begins, and where the last one ends.
    """

    text: bytes
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, names: Sequence[str]) -> PackedIds:
        """Pack the given ids."""
        encoded = [name.encode() for name in names]
        bounds = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(name) for name in encoded], out=bounds[1:])
        return cls(b"".join(encoded), bounds)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Return where each one ends."""
        return self.bounds[1:]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def take(self, rows: Positions) -> list[str]:
        """Return the ids of several rows."""
        text, starts, ends = self.text, self.bounds[rows], self.bounds[1:][rows]
        return [
            text[start:end].decode()
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Placed vectors of ascending ``pks`` in a FAISS index without ids of its own.

    ``rows`` is a view of the index's own vectors, where it keeps them as they were given. ``path``
    is the snapshot that holds the segment, None where only the truth does.
    """

    index: Any
    kind: IndexKind
    metric: Metric
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    names: PackedIds
    rows: Vectors | None
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.pks)

    @property
    def is_exact(self) -> bool:
        """Say whether a search finds the nearest for certain."""
        return self.kind is IndexKind.FLAT

    def find(self, pks: NDArray[np.int64]) -> Positions:
        """Return the positions of those of the pks that are here, in no order."""
        if not len(self.pks):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.pks, pks), len(self.pks) - 1)
        found: Positions = at[self.pks[at] == pks]
        return found

    def vectors(self, positions: Positions) -> Vectors | None:
        """Return the placed vectors at the positions, or None where only the truth has them."""
        if self.kind in QUANTISED:
            return None
        if self.rows is not None:
            return self.rows[positions]
        rows: Vectors = self.index.reconstruct_batch(positions)
        return rows

    def search(
        self, queries: Vectors, k: int, allowed: Bits | None, effort: SearchParams
    ) -> tuple[Scores, Positions]:
        """Return rough scores and positions, both [q, k]; -1 where no more was found.

        ``allowed`` None allows every row.
        """
        found, positions = self._ask(queries, k, self._parameters(k, allowed, effort), effort)
        return rough_of(self.metric, found), positions

    def search_all(
        self, queries: Vectors, k: int, positions: Positions, effort: SearchParams
    ) -> tuple[Scores, Positions]:
        """Return the same for the given positions only, and leave none of them out.

        What a quantised segment answers is only as near as its codes tell.
        """
        if self.kind in INVERTED:
            import faiss

            selector = faiss.IDSelectorBitmap(pack(positions, len(self)))
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.index.nlist)
            found, at = self._ask(queries, k, parameters, effort)
            return rough_of(self.metric, found), at
        assert self.rows is not None
        scores, at = nearest_rows(self.metric, queries, self.rows[positions], k, None)
        return scores, np.where(at < 0, -1, positions[at])

    def _ask(
        self, queries: Vectors, k: int, parameters: Any, effort: SearchParams
    ) -> tuple[Scores, Positions]:
        import faiss

        # OpenMP keeps this number for each calling thread, so it is set where the call is made.
        faiss.omp_set_num_threads(effort.threads)
        found, positions = self.index.search(queries, k, params=parameters)
        return found, positions

    def _parameters(self, k: int, allowed: Bits | None, effort: SearchParams) -> Any:
        """Return parameters for one call alone: FAISS crashes where threads share them."""
        import faiss

        selector = {} if allowed is None else {"sel": faiss.IDSelectorBitmap(allowed)}
        if self.kind is IndexKind.HNSW:
            return faiss.SearchParametersHNSW(efSearch=max(effort.hnsw, 2 * k), **selector)
        if self.kind in INVERTED:
            probes = effort.probes or max(1, self.index.nlist // 8)
            return faiss.SearchParametersIVF(nprobe=min(probes, self.index.nlist), **selector)
        return faiss.SearchParameters(**selector) if selector else None


def pack(positions: Positions, count: int) -> Bits:
    """Return bits of which those at the positions are set."""
    marks = np.zeros(count, np.bool_)
    marks[positions] = True
    return np.packbits(marks, bitorder="little")


def unpack(bits: Bits, count: int) -> NDArray[np.bool_]:
    """Return one mark a row."""
    return np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)


def are_set(bits: Bits, positions: Positions) -> NDArray[np.bool_]:
    """Return which of the positions are set."""
    marks: NDArray[np.bool_] = (bits[positions >> 3] >> (positions & 7)) & 1 != 0
    return marks

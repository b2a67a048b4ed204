"""How a store keeps the sparse vectors of points: one row each, and blocks of postings by id.

The blocks are those of `embedder.index.lexical.blocks`, with the decimal number of a vocabulary id
as their term. An entry has 8 bytes there too: the position of the pk in its block, two zero bytes,
and the weight as float32, unrounded. The row of a point has its ids and weights. It says which
blocks a later write of the point must change, and the blocks are made again from the rows if one of
them is damaged: unlike the terms of a text, weights cannot be computed again without the model.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.blocks import BLOCK

WeightPostings = tuple[NDArray[np.int64], NDArray[np.float32]]
"""The points with a weight for one id: pks int64[n] and weights float32[n], in any order."""

_ENTRY = struct.Struct("<HHf")
_ENTRIES = np.dtype([("at", "<u2"), ("zero", "<u2"), ("weight", "<f4")])


def row_checksum(pk: int, row: bytes) -> int:
    """Return the CRC-32 of the row of a point."""
    return zlib.crc32(row, zlib.crc32(f"{pk}".encode()))


def checked_vectors(
    location: str, rows: Iterable[tuple[int, object, object]]
) -> dict[int, SparseVector]:
    """Return the vectors by pk, given pk, checksum and row of each.

    Raises:
        StorageDamaged: a row is not the row that was written.
    """
    found: dict[int, SparseVector] = {}
    for pk, crc, row in rows:
        # A flipped bit may also change the type of a column.
        if not isinstance(row, bytes) or row_checksum(pk, row) != crc:
            problem = f"the sparse vector of row {pk} fails its checksum"
            raise StorageDamaged(location, problem, UNNAMED)
        found[pk] = SparseVector.decoded(row)
    return found


def entries_of(pk: int, vector: SparseVector) -> dict[str, bytes]:
    """Return the entry of a point in the block of each of its ids, by term."""
    at = pk % BLOCK
    pairs = zip(vector.ids.tolist(), vector.weights.tolist(), strict=True)
    return {str(one): _ENTRY.pack(at, 0, weight) for one, weight in pairs}


def decoded(blocks: Sequence[tuple[int, bytes]]) -> WeightPostings:
    """Return the postings in the blocks of one id; each has its number and its entries."""
    rows = np.frombuffer(b"".join(entries for _, entries in blocks), _ENTRIES)
    sizes = [len(entries) // _ENTRY.size for _, entries in blocks]
    first = np.repeat(np.array([number for number, _ in blocks], np.int64) * BLOCK, sizes)
    return first + rows["at"], rows["weight"].astype(np.float32)


def by_id(rows: Iterable[tuple[int, str, bytes]]) -> dict[int, WeightPostings]:
    """Return the postings by id, given number, term and entries of each block."""
    blocks: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for number, term, entries in rows:
        blocks[int(term)].append((number, entries))
    return {one: decoded(found) for one, found in blocks.items()}

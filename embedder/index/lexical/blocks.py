"""How a store keeps which texts have a term: as blocks of entries, one entry for each text.

A block has the texts of `BLOCK` consecutive pks that have one term. So a store keeps a few rows for
a frequent term, and not one for each of its texts. Stores keep the blocks of the same pks together,
so that a write of new points changes few pages; a search looks each term up in every `BLOCK` pks.
An entry has 8 bytes: the position of the pk in its block, how often the text has the term, and the
number of terms of the text.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
"""More make searches of many points faster, and writes of single points slower."""

MAX_TF = 2**16 - 1
"""More occurrences of a term in a text count as so many; the score hardly grows from there on."""

BlockKey = tuple[int, str]
"""The number of a block, that of the texts with pks from ``number * BLOCK`` on, and its term."""

Postings = NDArray[np.int64]
"""The texts with a term: pk, occurrences and length int64[n, 3], in any order."""

_ENTRY = struct.Struct("<HHI")
_ENTRIES = np.dtype([("at", "<u2"), ("tf", "<u2"), ("length", "<u4")])


class DamagedBlock(Exception):
    """A block fails its checksum; the texts of its collection must be indexed again."""


def entry(pk: int, tf: int, length: int) -> bytes:
    """Return the entry of a text."""
    return _ENTRY.pack(pk % BLOCK, min(tf, MAX_TF), length)


def merged(entries: bytes, removed: Collection[int], added: bytes) -> bytes:
    """Return the entries of a block without those at some positions, and with others."""
    if removed:
        starts = range(0, len(entries), _ENTRY.size)
        kept = [
            entries[start : start + _ENTRY.size]
            for start, (at, *_) in zip(starts, _ENTRY.iter_unpack(entries), strict=True)
            if at not in removed
        ]
        entries = b"".join(kept)
    return entries + added


def checksum(key: BlockKey, entries: bytes) -> int:
    """Return the CRC-32 of a block."""
    number, term = key
    return zlib.crc32(entries, zlib.crc32(f"{number} {term}".encode()))


def checked(key: BlockKey, entries: object, crc: object) -> bytes:
    """Return the entries of a block that was read.

    Raises:
        DamagedBlock: the block is not the one that was written.
    """
    if not isinstance(entries, bytes) or checksum(key, entries) != crc:
        raise DamagedBlock
    return entries


def decoded(blocks: Sequence[tuple[int, bytes]]) -> Postings:
    """Return the postings in the blocks of one term; each has its number and its entries."""
    rows = np.frombuffer(b"".join(entries for _, entries in blocks), _ENTRIES)
    sizes = [len(entries) // _ENTRY.size for _, entries in blocks]
    first = np.repeat(np.array([number for number, _ in blocks], np.int64) * BLOCK, sizes)
    return np.stack([first + rows["at"], rows["tf"], rows["length"]], axis=1).astype(np.int64)


def size_of(entries_bytes: int) -> int:
    """Return the number of entries in so many bytes of blocks."""
    return entries_bytes // _ENTRY.size


def by_term(terms: Iterable[str], rows: Iterable[tuple[int, str, bytes]]) -> dict[str, Postings]:
    """Return the postings of terms, given the numbers, terms and entries of their blocks."""
    blocks: dict[str, list[tuple[int, bytes]]] = {term: [] for term in terms}
    for number, term, entries in rows:
        blocks[term].append((number, entries))
    return {term: decoded(found) for term, found in blocks.items()}

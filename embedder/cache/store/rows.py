"""A row as every store keeps it: an entry, its times, and a checksum that ties both to the key.

A row may have been damaged, swapped or cut wherever it lay; whatever does not match its checksum is
no row. Times are milliseconds of the wall clock, which may jump while nobody looks: a row never
lives longer than it had left when it was saved. Knows nothing of where rows are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from embedder.cache.store.records import FOREVER, Records
from embedder.core.types import Entries

_NEVER_MS = np.iinfo(np.int64).max
_LONGEST_MS = 2.0**53
"""Lives above this, of 285,000 years, are cut: a float holds no more whole milliseconds."""

_WHOLE = crc32(bytes(4))
"""The CRC-32 of anything that ends with its own CRC-32, whatever it is."""


@dataclass(slots=True)
class Unpacked:
    """Rows that were read: ``records``, one a width; ``expired`` keys; how many are ``corrupt``."""

    records: list[Records] = field(default_factory=list)
    expired: list[bytes] = field(default_factory=list)
    corrupt: int = 0


def row_bytes(width: int) -> int:
    """Return how many bytes a row of so many components has."""
    return _layout(width).itemsize


def pack(records: Records, now_s: float) -> bytes:
    """Return the rows one after the other, each of `row_bytes`; ``now_s`` is the wall clock."""
    rows = np.empty(len(records), _layout(records.width))
    saved_ms = round(now_s * 1000)
    lives_ms = np.minimum(records.ttls_s * 1000, _LONGEST_MS).astype(np.int64)
    rows["saved_ms"] = saved_ms
    rows["expires_ms"] = np.where(records.ttls_s == FOREVER, _NEVER_MS, saved_ms + lives_ms)
    rows["token_count"] = records.entries.token_counts
    rows["truncated"] = records.entries.truncated
    rows["vector"] = records.entries.vectors
    size = rows.itemsize
    view = rows.view(np.uint8).data
    rows["crc"] = [
        crc32(view[start : start + size - 4], crc32(key))
        for start, key in zip(range(0, len(view), size), records.keys, strict=True)
    ]
    return rows.tobytes()


def unpack(keys: Sequence[bytes], values: Sequence[bytes], now_s: float) -> Unpacked:
    """Return what the rows under these keys hold; ``now_s`` is the wall clock."""
    unpacked = Unpacked()
    by_size: dict[int, list[int]] = {}
    for at, (key, value) in enumerate(zip(keys, values, strict=True)):
        if crc32(value, crc32(key)) == _WHOLE and _is_a_size(len(value)):
            by_size.setdefault(len(value), []).append(at)
        else:
            unpacked.corrupt += 1
    for size, places in by_size.items():
        rows = np.frombuffer(b"".join([values[at] for at in places]), _layout(_width(size)))
        _sort(rows, [keys[at] for at in places], now_s, unpacked)
    return unpacked


def _sort(rows: NDArray[np.void], keys: list[bytes], now_s: float, unpacked: Unpacked) -> None:
    """Add the rows, all of one width, to what has been unpacked."""
    records = Records(keys, _entries(rows), _lives_s(rows, now_s))
    alive = records.ttls_s > 0
    if not alive.all():
        unpacked.expired += [keys[row] for row in np.flatnonzero(~alive).tolist()]
        records = records.take(np.flatnonzero(alive))
    if len(records):
        unpacked.records.append(records)


def _lives_s(rows: NDArray[np.void], now_s: float) -> NDArray[np.float64]:
    """Return the seconds that remain: of a clock that went back, no more than when saved."""
    expires_ms = rows["expires_ms"]
    left_ms = expires_ms - np.maximum(rows["saved_ms"], round(now_s * 1000))
    return np.where(expires_ms == _NEVER_MS, FOREVER, left_ms / 1000)


def _entries(rows: NDArray[np.void]) -> Entries:
    return Entries(
        np.ascontiguousarray(rows["vector"], np.float32),
        rows["token_count"].astype(np.int32),
        rows["truncated"].astype(np.bool_),
    )


def _layout(width: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("saved_ms", "<i8"),
            ("expires_ms", "<i8"),
            ("token_count", "<i4"),
            ("truncated", "<u4"),
            ("vector", "<f4", (width,)),
            ("crc", "<u4"),
        ]
    )


_BESIDE_THE_VECTOR = _layout(0).itemsize


def _is_a_size(size: int) -> bool:
    return size > _BESIDE_THE_VECTOR and size % 4 == 0


def _width(size: int) -> int:
    return (size - _BESIDE_THE_VECTOR) // 4

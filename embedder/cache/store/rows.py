"""The row format of all stores: an entry, its times, and a checksum over both and the key.

A stored row may be damaged, swapped or cut; a row that does not match its checksum is dropped.
Times are milliseconds of the wall clock. If that clock is set back, a row lives no longer than the
time to live that it had when it was saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from embedder.cache.store.records import FOREVER, Records
from embedder.core.entries.entries import Entries

_NEVER_MS = np.iinfo(np.int64).max
_LONGEST_MS = 2.0**53
"""Upper bound on times to live, 285,000 years: a float has no more whole milliseconds."""

_INTACT = crc32(bytes(4))
"""The CRC-32 of any bytes that end with their own CRC-32."""


@dataclass(slots=True)
class Unpacked:
    """Content of rows: ``records`` by width, ``expired`` keys, a count of ``corrupt`` rows."""

    records: list[Records] = field(default_factory=list)
    expired: list[bytes] = field(default_factory=list)
    corrupt: int = 0


def row_bytes(width: int) -> int:
    """Return the bytes of a row with ``width`` components."""
    return _layout(width).itemsize


def pack(records: Records, now_s: float) -> bytes:
    """Return the concatenated rows, each of `row_bytes`; ``now_s`` is the wall clock."""
    rows = np.empty(len(records), _layout(records.width))
    saved_ms = round(now_s * 1000)
    ttls_ms = np.minimum(records.ttls_s * 1000, _LONGEST_MS).astype(np.int64)
    rows["saved_ms"] = saved_ms
    rows["expires_ms"] = np.where(records.ttls_s == FOREVER, _NEVER_MS, saved_ms + ttls_ms)
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
    """Return the content of the rows of these keys; ``now_s`` is the wall clock."""
    unpacked = Unpacked()
    by_size: dict[int, list[int]] = {}
    for at, (key, value) in enumerate(zip(keys, values, strict=True)):
        if crc32(value, crc32(key)) == _INTACT and _is_row_size(len(value)):
            by_size.setdefault(len(value), []).append(at)
        else:
            unpacked.corrupt += 1
    for size, numbers in by_size.items():
        rows = np.frombuffer(b"".join([values[at] for at in numbers]), _layout(_width(size)))
        _add(rows, [keys[at] for at in numbers], now_s, unpacked)
    return unpacked


def _add(rows: NDArray[np.void], keys: list[bytes], now_s: float, unpacked: Unpacked) -> None:
    """Add rows of one width to the unpacked content."""
    records = Records(keys, _entries(rows), _ttls_s(rows, now_s))
    alive = records.ttls_s > 0
    if not alive.all():
        unpacked.expired += [keys[row] for row in np.flatnonzero(~alive).tolist()]
        records = records.take(np.flatnonzero(alive))
    if len(records):
        unpacked.records.append(records)


def _ttls_s(rows: NDArray[np.void], now_s: float) -> NDArray[np.float64]:
    """Return the remaining seconds, at most those at the time of saving."""
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


_FIXED_BYTES = _layout(0).itemsize


def _is_row_size(size: int) -> bool:
    return size > _FIXED_BYTES and size % 4 == 0


def _width(size: int) -> int:
    return (size - _FIXED_BYTES) // 4

"""The row format of all stores: an entry, its times, and a checksum over both and the key.

A row holds a vector, or the bytes of a sparse row or of token vectors, which have a mark. A stored
row may be damaged, swapped or cut; a row that does not match its checksum is dropped.
Times are milliseconds of the wall clock. If that clock is set back, a row lives no longer than the
time to live that it had when it was saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from embedder.cache.store.records import FOREVER, Records
from embedder.core.entries.blobs import RAGGED
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


def pack(records: Records, now_s: float) -> list[bytes]:
    """Return a row for each record; ``now_s`` is the wall clock."""
    rows = np.empty(len(records), _layout(records.width))
    saved_ms = round(now_s * 1000)
    ttls_ms = np.minimum(records.ttls_s * 1000, _LONGEST_MS).astype(np.int64)
    rows["saved_ms"] = saved_ms
    rows["expires_ms"] = np.where(records.ttls_s == FOREVER, _NEVER_MS, saved_ms + ttls_ms)
    rows["token_count"] = records.entries.token_counts
    rows["marks"] = records.entries.truncated
    blobs: Iterable[bytes] = repeat(b"", len(records))
    if records.width == RAGGED:
        rows["marks"] |= np.uint32(_RAGGED_MARK)
        blobs = records.entries.vectors
    else:
        rows["vector"] = records.entries.vectors
    fixed, size = rows.tobytes(), rows.itemsize
    packed = []
    for at, (key, blob) in enumerate(zip(records.keys, blobs, strict=True)):
        row = fixed[at * size : (at + 1) * size - _CRC_BYTES] + blob
        packed.append(row + crc32(row, crc32(key)).to_bytes(_CRC_BYTES, "little"))
    return packed


def unpack(keys: Sequence[bytes], values: Sequence[bytes], now_s: float) -> Unpacked:
    """Return the content of the rows of these keys; ``now_s`` is the wall clock."""
    unpacked = Unpacked()
    by_width: dict[int, list[int]] = {}
    for at, (key, value) in enumerate(zip(keys, values, strict=True)):
        width = _width(value)
        if crc32(value, crc32(key)) == _INTACT and width is not None:
            by_width.setdefault(width, []).append(at)
        else:
            unpacked.corrupt += 1
    for width, numbers in by_width.items():
        rows = [values[at] for at in numbers]
        _add(width, rows, [keys[at] for at in numbers], now_s, unpacked)
    return unpacked


def _add(
    width: int, values: list[bytes], keys: list[bytes], now_s: float, unpacked: Unpacked
) -> None:
    """Add rows of one width to the unpacked content."""
    fixed = values
    if width == RAGGED:
        fixed = [value[: _FIXED_BYTES - _CRC_BYTES] + bytes(_CRC_BYTES) for value in values]
    rows = np.frombuffer(b"".join(fixed), _layout(width))
    entries = Entries.allocate(len(values), width)
    if width == RAGGED:
        entries.vectors[:] = [value[_FIXED_BYTES - _CRC_BYTES : -_CRC_BYTES] for value in values]
    else:
        entries.vectors[:] = rows["vector"]
    entries.token_counts[:] = rows["token_count"]
    entries.truncated[:] = rows["marks"] & np.uint32(_TRUNCATED_MARK)
    records = Records(keys, entries, _ttls_s(rows, now_s))
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


def _layout(width: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("saved_ms", "<i8"),
            ("expires_ms", "<i8"),
            ("token_count", "<i4"),
            ("marks", "<u4"),
            ("vector", "<f4", (width,)),
            ("crc", "<u4"),
        ]
    )


_FIXED_BYTES = _layout(0).itemsize
_CRC_BYTES = 4
_MARKS_AT = 20
_TRUNCATED_MARK, _RAGGED_MARK = 1, 2


def _width(value: bytes) -> int | None:
    """Return the components of the vector in a row, or `RAGGED`; None if it has not such a size."""
    size = len(value) - _FIXED_BYTES
    if size < 0 or size % 4:
        return None
    if value[_MARKS_AT] & _RAGGED_MARK:
        return RAGGED
    return size // 4 or None

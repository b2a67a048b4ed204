"""The file of one segment: an envelope that shows damage before FAISS parses a byte.

    magic · length and CRC of the header · header as JSON, padded    1024 bytes
    pks · seqs · ends of the ids · ids                               with a CRC in the header
    what FAISS writes of the index                                   with another

Knows nothing of when files are written, or of what is alive of a segment.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.faiss_index import rows_of
from embedder.index.segments.segment import PackedIds, Segment

MAGIC = b"EMBSEG01"
FORMAT = 1
HEADER_BYTES = 1024
_PREFIX = struct.Struct("<8sII")
_CHUNK = 1 << 20


class BadSnapshot(Exception):
    """A file that is no snapshot of this collection, or is damaged; the sentence says how."""


class SnapshotIdentity(BaseModel):
    """Whose segment a file holds: nothing of it may be used for any other collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str
    collection: str
    metric: Metric
    width: int = Field(ge=1)


class Header(BaseModel):
    """What a file says of itself; ``sequence`` is that of the newest row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    identity: SnapshotIdentity
    kind: IndexKind
    sequence: int
    count: int = Field(ge=1)
    names_bytes: int = Field(ge=1)
    rows_crc: int
    index_bytes: int = Field(ge=1)
    index_crc: int
    faiss: str

    @property
    def rows_bytes(self) -> int:
        """Return the size of everything between the header and the index."""
        return 24 * self.count + self.names_bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """The first part of a file: which versions of which points it holds, and their ids."""

    header: Header
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    names: PackedIds


def write_segment(file: BinaryIO, segment: Segment, identity: SnapshotIdentity) -> None:
    """Write a whole file; the header last, over a gap, since it holds the checksums."""
    import faiss

    file.write(bytes(HEADER_BYTES))
    rows = (segment.pks.tobytes(), segment.seqs.tobytes(), segment.names.ends.tobytes())
    rows_crc = 0
    for part in (*rows, segment.names.text):
        rows_crc = zlib.crc32(part, rows_crc)
        file.write(part)
    sink = _Sink(file)
    faiss.write_index(segment.index, faiss.PyCallbackIOWriter(sink, _CHUNK))
    header = Header(
        format=FORMAT,
        identity=identity,
        kind=segment.kind,
        sequence=int(segment.seqs.max()),
        count=len(segment),
        names_bytes=len(segment.names.text),
        rows_crc=rows_crc,
        index_bytes=sink.size,
        index_crc=sink.crc,
        faiss=faiss.__version__,
    )
    text = header.model_dump_json().encode().ljust(HEADER_BYTES - _PREFIX.size)
    assert len(text) == HEADER_BYTES - _PREFIX.size
    file.seek(0)
    file.write(_PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text)


def read_rows(path: Path, identity: SnapshotIdentity) -> Rows:
    """Return the first part of a file, checked; the index is not looked at.

    Raises:
        BadSnapshot: the file is damaged, of another format, or another collection's.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _header(file.read(HEADER_BYTES), identity)
        if path.stat().st_size != HEADER_BYTES + header.rows_bytes + header.index_bytes:
            raise BadSnapshot("has another length than its header says")
        body = file.read(header.rows_bytes)
    if zlib.crc32(body) != header.rows_crc:
        raise BadSnapshot("fails the checksum of its rows")
    count = header.count
    numbers = np.frombuffer(body, np.int64, 3 * count)
    bounds = np.concatenate([np.zeros(1, np.int64), numbers[2 * count :]])
    names = PackedIds(body[24 * count :], bounds)
    return Rows(header=header, pks=numbers[:count], seqs=numbers[count : 2 * count], names=names)


def read_segment(path: Path, rows: Rows) -> Segment:
    """Return the segment of a file whose first part has been read.

    Raises:
        BadSnapshot: the index is damaged.
        OSError: it cannot be read.
    """
    import faiss

    header = rows.header
    with path.open("rb") as file:
        # FAISS loads flipped bits without complaint, so it sees nothing that was not checked.
        start = HEADER_BYTES + header.rows_bytes
        if _crc(file, start, header.index_bytes) != header.index_crc:
            raise BadSnapshot("fails the checksum of its index")
        file.seek(start)
        try:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read, _CHUNK))
        except RuntimeError as error:
            raise BadSnapshot(f"cannot be read by FAISS {faiss.__version__}") from error
    if (index.d, index.ntotal) != (header.identity.width, header.count):
        raise BadSnapshot("has another shape than its header says")
    if header.kind is IndexKind.IVF_FLAT:
        index.make_direct_map()
    return Segment(
        index,
        header.kind,
        header.identity.metric,
        rows.pks,
        rows.seqs,
        rows.names,
        rows_of(index, header.kind),
        path,
    )


class _Sink:
    """Takes what FAISS writes, and counts and sums it on its way to the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._write: Callable[[bytes], Any] = file.write
        self.size = 0
        self.crc = 0

    def __call__(self, data: bytes) -> None:
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        self._write(data)


def _header(block: bytes, identity: SnapshotIdentity) -> Header:
    if len(block) < HEADER_BYTES:
        raise BadSnapshot("is shorter than a header")
    magic, length, crc = _PREFIX.unpack_from(block)
    text = block[_PREFIX.size :]
    if magic[:-2] != MAGIC[:-2]:
        raise BadSnapshot("is no snapshot")
    if length != len(text) or zlib.crc32(text) != crc:
        raise BadSnapshot("fails the checksum of its header")
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        raise BadSnapshot(f"has a header that is not understood: {error}") from error
    if magic != MAGIC or header.format != FORMAT:
        raise BadSnapshot(f"has format {header.format}; this version reads {FORMAT}")
    if header.identity != identity:
        raise BadSnapshot("is of another collection")
    return header


def _crc(file: BinaryIO, start: int, size: int) -> int:
    file.seek(start)
    crc = 0
    while size > 0 and (data := file.read(min(size, _CHUNK))):
        crc = zlib.crc32(data, crc)
        size -= len(data)
    return crc

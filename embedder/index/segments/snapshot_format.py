"""The file format of a segment: checksums reveal damage before FAISS parses a byte.

magic · length and CRC of the header · header as JSON, padded    1024 bytes
pks · seqs · ends of the ids · nodes, if rows share some · ids   CRC in the header
the index in FAISS's own format                                  CRC in the header

In format 1, every row has a node of its own, also where rows are identical.
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
from embedder.index.segments.faiss_index import stored_vectors
from embedder.index.segments.huge_pages import use_huge_pages
from embedder.index.segments.segment import PackedIds, Segment
from embedder.index.segments.shared_nodes import SharedNodes

MAGIC = b"EMBSEG01"
FORMAT = 2
HEADER_BYTES = 1024
_PREFIX = struct.Struct("<8sII")
_CHUNK_BYTES = 1 << 20


class BadSnapshot(Exception):
    """The file is damaged or is not a snapshot of this collection; the message says how."""


class SnapshotIdentity(BaseModel):
    """The collection that a file belongs to: no other collection may use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str
    collection: str
    metric: Metric
    width: int = Field(ge=1)


class Header(BaseModel):
    """The header of a file; ``sequence`` is that of the newest row.

    ``nodes`` is the number of vectors in the index, None if each of the ``count`` rows has its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    identity: SnapshotIdentity
    kind: IndexKind
    sequence: int
    count: int = Field(ge=1)
    nodes: int | None = Field(None, ge=1)
    names_bytes: int = Field(ge=1)
    rows_crc: int
    index_bytes: int = Field(ge=1)
    index_crc: int
    faiss: str

    @property
    def rows_bytes(self) -> int:
        """Return the number of bytes between the header and the index."""
        return 8 * self.columns * self.count + self.names_bytes

    @property
    def columns(self) -> int:
        """Return the number of integers that a row has in the file."""
        return 3 if self.nodes is None else 4


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """The first part of a file: the versions (pk and seq) of its points, their ids and nodes."""

    header: Header
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    ids: PackedIds
    nodes: SharedNodes | None


def write_segment(file: BinaryIO, segment: Segment, identity: SnapshotIdentity) -> None:
    """Write a whole file; the header comes last, into a gap, since it holds the checksums."""
    import faiss

    file.write(bytes(HEADER_BYTES))
    nodes = segment.nodes
    columns = [segment.pks, segment.seqs, segment.ids.bounds[1:]]
    if nodes is not None:
        columns.append(nodes.of_row)
    rows_crc = 0
    for block in (*(column.tobytes() for column in columns), segment.ids.text):
        rows_crc = zlib.crc32(block, rows_crc)
        file.write(block)
    index = _ChecksumWriter(file)
    faiss.write_index(segment.index, faiss.PyCallbackIOWriter(index, _CHUNK_BYTES))
    header = Header(
        format=FORMAT,
        identity=identity,
        kind=segment.kind,
        sequence=int(segment.seqs.max()),
        count=len(segment),
        nodes=None if nodes is None else len(nodes),
        names_bytes=len(segment.ids.text),
        rows_crc=rows_crc,
        index_bytes=index.size,
        index_crc=index.crc,
        faiss=faiss.__version__,
    )
    text = header.model_dump_json().encode().ljust(HEADER_BYTES - _PREFIX.size)
    assert len(text) == HEADER_BYTES - _PREFIX.size
    file.seek(0)
    file.write(_PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text)


def read_header(block: bytes, size: int, identity: SnapshotIdentity) -> Header:
    """Return the header of a file of ``size`` bytes, which begins with ``block``.

    Raises:
        BadSnapshot: the file is damaged, of another format, or of another collection.
    """
    if len(block) < HEADER_BYTES:
        raise BadSnapshot("is shorter than a header")
    magic, length, crc = _PREFIX.unpack_from(block)
    text = block[_PREFIX.size :]
    if magic[:-2] != MAGIC[:-2]:
        raise BadSnapshot("is not a snapshot")
    if length != len(text) or zlib.crc32(text) != crc:
        raise BadSnapshot("fails the checksum of its header")
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        raise BadSnapshot(f"has an invalid header: {error}") from error
    if magic != MAGIC or not 1 <= header.format <= FORMAT:
        raise BadSnapshot(f"has format {header.format}; this version reads up to {FORMAT}")
    if header.identity != identity:
        raise BadSnapshot("belongs to another collection")
    if size != HEADER_BYTES + header.rows_bytes + header.index_bytes:
        raise BadSnapshot("does not have the length in its header")
    return header


def read_rows(path: Path, identity: SnapshotIdentity) -> SnapshotRows:
    """Return the first part of a file, checked; the index is not read.

    Raises:
        BadSnapshot: the file is damaged, of another format, or of another collection.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header = read_header(file.read(HEADER_BYTES), path.stat().st_size, identity)
        body = file.read(header.rows_bytes)
    if zlib.crc32(body) != header.rows_crc:
        raise BadSnapshot("fails the checksum of its rows")
    size = header.columns * header.count
    columns = np.frombuffer(body, np.int64, size).reshape(header.columns, header.count)
    bounds = np.concatenate([np.zeros(1, np.int64), columns[2]])
    ids = PackedIds(body[8 * size :], bounds)
    nodes = None if header.nodes is None else SharedNodes.of(columns[3])
    return SnapshotRows(header, columns[0], columns[1], ids, nodes)


def read_segment(path: Path, rows: SnapshotRows) -> Segment:
    """Return the segment of a file; ``rows`` is what `read_rows` returned for it.

    Raises:
        BadSnapshot: the index is damaged.
        OSError: the file cannot be read.
    """
    import faiss

    header = rows.header
    with path.open("rb") as file:
        # FAISS loads flipped bits without an error, so the checksum comes first.
        start = HEADER_BYTES + header.rows_bytes
        if _crc(file, start, header.index_bytes) != header.index_crc:
            raise BadSnapshot("fails the checksum of its index")
        file.seek(start)
        try:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read, _CHUNK_BYTES))
        except RuntimeError as error:
            raise BadSnapshot(f"cannot be read by FAISS {faiss.__version__}") from error
    if (index.d, index.ntotal) != (header.identity.width, header.nodes or header.count):
        raise BadSnapshot("does not have the shape in its header")
    if header.kind is IndexKind.IVF_FLAT:
        index.make_direct_map()
    use_huge_pages(index, header.kind)
    return Segment(
        index,
        header.kind,
        header.identity.metric,
        rows.pks,
        rows.seqs,
        rows.ids,
        stored_vectors(index, header.kind),
        path,
        nodes=rows.nodes,
    )


class _ChecksumWriter:
    """Writes to a file, and keeps the number of bytes and their CRC-32."""

    def __init__(self, file: BinaryIO) -> None:
        self._write: Callable[[bytes], Any] = file.write
        self.size = 0
        self.crc = 0

    def __call__(self, data: bytes) -> None:
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        self._write(data)


def _crc(file: BinaryIO, start: int, size: int) -> int:
    file.seek(start)
    crc = 0
    while size > 0 and (data := file.read(min(size, _CHUNK_BYTES))):
        crc = zlib.crc32(data, crc)
        size -= len(data)
    return crc

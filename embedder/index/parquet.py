"""Export one shard's part of a collection to a Parquet file, for other tools to read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from embedder.core.errors import MissingExtra
from embedder.core.private_files import OWNER_ONLY_FOLDER
from embedder.core.storage_errors import NotWritten
from embedder.index.shard import Shard
from embedder.index.storage.disk.atomic_files import EXISTS, raising_not_written, write_atomically
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.staging import require_collection


def export(shard: Shard, name: str, file: Path) -> int:
    """Write a collection, as it is at one moment, and return its number of points.

    The columns are ``id``, ``vector``, ``text`` and ``metadata`` (JSON), and, if a point of the
    shard has a sparse vector, ``sparse_ids`` and ``sparse_weights``, null where a point has none.
    With several shards, ``file`` becomes a folder with a file for each shard.

    Raises:
        MissingExtra: pyarrow is not installed.
        NotWritten: the file exists or cannot be written; nothing of it is left.
        StorageDamaged: a row fails its checksum; nothing of the file is left.
    """
    shard.find(name)
    part = part_of(file, shard.name, shard.shards)
    with shard.store.reader.snapshot() as stored:
        return write_part(stored, name, part)


def part_of(file: Path, shard: str, shards: int) -> Path:
    """Return the file of one shard, and create the folder of several ones.

    Raises:
        NotWritten: the folder cannot be created.
    """
    if shards == 1:
        return file
    with raising_not_written(file):
        file.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)
    return file / f"{shard}.parquet"


def write_part(stored: Snapshot, name: str, file: Path) -> int:
    """Write the points that one shard has of a collection; raises as `export`."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("an export to Parquet", "pyarrow", "parquet") from error
    row = require_collection(stored, name)
    if file.exists():
        raise NotWritten(str(file), EXISTS)

    def write(target: BinaryIO) -> None:
        has_sparse = stored.sparse_points(row.id) > 0
        schema = _schema(row, has_sparse=has_sparse)
        with pyarrow.parquet.ParquetWriter(target, schema) as writer:
            for rows in stored.scan(row):
                vectors = pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(np.ravel(rows.vectors)), row.width
                )
                columns = [rows.ids, vectors, rows.texts, rows.metadata]
                if has_sparse:
                    columns.append([None if one is None else one.ids for one in rows.sparse])
                    columns.append([None if one is None else one.weights for one in rows.sparse])
                writer.write_table(pyarrow.table(columns, schema=schema))

    with raising_not_written(file):
        write_atomically(file, write)
    return row.count


def _schema(row: CollectionRow, *, has_sparse: bool) -> object:
    import pyarrow

    fields = [
        pyarrow.field("id", pyarrow.string(), nullable=False),
        pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), row.width or 0)),
        pyarrow.field("text", pyarrow.string()),
        pyarrow.field("metadata", pyarrow.string(), nullable=False),
    ]
    if has_sparse:
        fields.append(pyarrow.field("sparse_ids", pyarrow.list_(pyarrow.int32())))
        fields.append(pyarrow.field("sparse_weights", pyarrow.list_(pyarrow.float32())))
    return pyarrow.schema(fields)

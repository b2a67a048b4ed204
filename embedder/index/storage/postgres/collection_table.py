"""The rows of collections and of the identities of deleted ones."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.storage.records import CollectionRow

COLUMNS = (
    "id, uuid, name, metric, kind, width, model, sequence, count, "
    "identity, revision, digest, pooling, crc"
)
"""The columns of a collection; the checksum in the last one covers the others in this order."""

UPDATE = """
UPDATE embedder.collections SET name = %s, metric = %s, kind = %s, width = %s, model = %s,
    sequence = %s, count = %s, identity = %s, revision = %s, digest = %s, pooling = %s, crc = %s,
    next_pk = next_pk + %s, restorer = CASE WHEN %s THEN restorer END
WHERE id = %s
"""
INSERT = """
INSERT INTO embedder.collections(
    shard, uuid, metric, kind, restorer, sequence, count, identity, crc)
VALUES (%s, %s, %s, %s, %s, 0, 0, '', 0) RETURNING id
"""


def as_collection(values: Sequence[Any], location: str) -> CollectionRow:
    """Return the collection of a table row, given its `COLUMNS` in order.

    Raises:
        StorageDamaged: the row fails its checksum.
    """
    stored: list[Any] = [decoded(one) if isinstance(one, bytes) else one for one in values]
    number, own, name, metric, kind, *rest, crc = stored
    if checksum(stored[:-1]) != crc:
        raise StorageDamaged(location, f"collection {name!r} fails its checksum")
    return CollectionRow(number, own, name, Metric(metric), IndexKind(kind), *rest)


def update_parameters(row: CollectionRow, used: int) -> Sequence[object]:
    """Return the parameters of `UPDATE` for a collection with ``used`` more pks assigned."""
    values = [
        *(row.name, row.metric.value, row.kind.value, row.width, row.model),
        *(row.sequence, row.count, row.identity, row.revision, row.digest, row.pooling),
    ]
    crc = checksum([row.id, row.uuid, *values])
    name, metric, kind, width, model, sequence, count, *rest = values
    stored = (encoded(name), metric, kind, width, encoded(model), sequence, count)
    return (*stored, *map(encoded, rest), crc, used, row.name is None, row.id)


def checksum(values: Sequence[object]) -> int:
    """Return the CRC-32 of all columns of a collection but the last."""
    return zlib.crc32(repr(tuple(values)).encode())


def encoded(text: object) -> bytes | None:
    """Return a string of a client as it is stored."""
    return None if text is None else str(text).encode()


def decoded(stored: bytes) -> str:
    """Return the string that was stored; a damaged one fails the checksum of its row."""
    return stored.decode(errors="replace")

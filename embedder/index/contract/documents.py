"""Documents: long texts whose chunks are points.

The chunk with number 3 of the document ``doc`` is the point ``doc#3``. Its metadata has the field
``chunk``, an object with the id of the document under ``document``, the ``number`` and the range of
characters, ``start`` and ``end``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.checks import byte_count, check_distinct, check_ids
from embedder.index.contract.limits import MAX_ID_BYTES

CHUNK = "chunk"
"""The key of metadata that only chunks have."""

MAX_DOCUMENT_ID_BYTES = MAX_ID_BYTES - 15
"""Room for the number in the ids of chunks."""


def chunk_id(document: str, number: int) -> str:
    """Return the id of a chunk."""
    return f"{document}#{number}"


def chunk_ids(document: str) -> tuple[str, str]:
    """Return the bounds of the ids of the chunks of a document: the least, and one above all."""
    return f"{document}#", f"{document}$"  # "$" is the character after "#"


def document_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the id of the document of a chunk, None if the point is no chunk."""
    chunk = metadata.get(CHUNK)
    document = chunk.get("document") if isinstance(chunk, dict) else None
    return document if isinstance(document, str) else None


def check_documents(ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> None:
    """Refuse documents that cannot be stored as chunks.

    Raises:
        InvalidInput: an id is invalid or given twice, or metadata has the key of chunks.
        LimitExceeded: an id has more than `MAX_DOCUMENT_ID_BYTES` bytes.
    """
    check_ids(ids)
    for row, name in enumerate(ids):
        size = byte_count(name, f"points[{row}].id")
        if size > MAX_DOCUMENT_ID_BYTES:
            unit = "bytes, as the id of a text with chunks"
            raise LimitExceeded(f"points[{row}].id", unit, size, MAX_DOCUMENT_ID_BYTES)
        if CHUNK in metadata[row]:
            problem = f"has the key {CHUNK!r}, under which the place of each chunk is stored"
            raise InvalidInput(f"points[{row}].metadata", problem)
    check_distinct(ids)

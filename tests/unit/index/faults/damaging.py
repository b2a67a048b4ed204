"""How to damage the rows of collection "c", by store; the rest of the data stays as it is."""

from __future__ import annotations

from tests.unit.index.faults.saved_index import COUNT

_SQLITE = "(SELECT id FROM collections WHERE name = 'c')"
_POSTGRES = "(SELECT id FROM embedder.collections WHERE name = 'c')"
_POINTS, _VECTORS = f"collection = {_POSTGRES}", f"pk <= {COUNT} AND collection = {_POSTGRES}"

ROWS_OF = {
    "sqlite": {
        "a text": f"UPDATE points SET text = 'other' WHERE collection = {_SQLITE}",
        "no text": f"UPDATE points SET text = CAST(x'ff' AS TEXT) WHERE collection = {_SQLITE}",
        "a number": f"UPDATE points SET seq = seq + 1 WHERE collection = {_SQLITE}",
        "a number that is none": f"UPDATE points SET seq = 'x' WHERE collection = {_SQLITE}",
        "a vector": f"UPDATE vectors SET vector = zeroblob(16) WHERE pk <= {COUNT}",
        "a vector that is none": f"UPDATE vectors SET vector = 'x' WHERE pk <= {COUNT}",
        "a missing vector": f"DELETE FROM vectors WHERE pk = {COUNT}",
        "missing points": f"DELETE FROM points WHERE collection = {_SQLITE} AND pk > 5",
    },
    "postgres": {
        "a text": f"UPDATE embedder.points SET text = 'other' WHERE {_POINTS}",
        "no text": f"UPDATE embedder.points SET text = '\\xff' WHERE {_POINTS}",
        "a number": f"UPDATE embedder.points SET seq = seq + 1 WHERE {_POINTS}",
        "a vector": f"UPDATE embedder.vectors SET vector = decode(repeat('00', 16), 'hex') "
        f"WHERE {_VECTORS}",
        "a vector that is none": f"UPDATE embedder.vectors SET vector = 'x' WHERE {_VECTORS}",
        "a missing vector": f"DELETE FROM embedder.vectors WHERE {_VECTORS} AND pk = {COUNT}",
        "missing points": f"DELETE FROM embedder.points WHERE {_POINTS} AND pk > 5",
    },
}
"""Statements that change or delete rows of points, by what they damage."""

COUNTS = {
    "sqlite": "UPDATE collections SET count = count - 1 WHERE name = 'c'",
    "postgres": "UPDATE embedder.collections SET count = count - 1 WHERE name = 'c'",
}
"""A statement that changes the row of the collection itself."""

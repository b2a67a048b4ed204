"""Files as version 1 of the index wrote them, made of files of the present version."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from embedder.index.backup import MANIFEST, POINTS

COLUMNS = "id, uuid, name, metric, kind, width, model, sequence, count"


COLLECTIONS = """
CREATE TABLE collections(
    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, name TEXT UNIQUE,
    metric TEXT NOT NULL, kind TEXT NOT NULL, width INTEGER, model TEXT,
    sequence INTEGER NOT NULL, count INTEGER NOT NULL, crc INTEGER NOT NULL);
"""


def downgrade(path: Path) -> None:
    """Take from a closed database what version 1 did not have."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows = db.execute(f"SELECT {COLUMNS} FROM collections").fetchall()
        db.execute("DROP TABLE collections")
        db.execute(COLLECTIONS)
        for row in rows:
            crc = zlib.crc32(repr(tuple(row)).encode())
            db.execute("INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, crc))
        sparse = ("sparse_totals", "sparse_vectors", "sparse_postings")
        for table in ("deleted", "text_totals", "text_documents", "text_postings", *sparse):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")


def downgrade_backup(folder: Path) -> None:
    """Make a backup one of format 1."""
    downgrade(folder / POINTS)
    data = (folder / POINTS).read_bytes()
    told = json.loads((folder / MANIFEST).read_text())
    told |= {"format": 1, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(told))

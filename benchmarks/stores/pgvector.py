"""pgvector as a contender: a table with a vector and a number in each row."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from benchmarks.stores.points import TOP, Points
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.settings.model import IndexSettings


class _BinaryVector(Dumper):
    """Sends a row float32[d] as pgvector's ``vector`` in its binary format."""

    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        row: Vectors = obj
        return struct.pack(">HH", len(row), 0) + row.astype(">f4").tobytes()


class Pgvector:
    """A table in an empty database; its numbers have an index, so that a filter reads few rows.

    It uses as many threads as our index: one for a search, ``build_threads`` for a graph. With
    ``stored``, the database has the table of an earlier one.
    """

    keeps = True

    def __init__(
        self,
        url: str,
        kind: IndexKind,
        width: int,
        settings: IndexSettings,
        *,
        stored: bool = False,
    ) -> None:
        self.name, self.kind, self._settings = "pgvector", kind, settings
        self._db = db = psycopg.connect(url, autocommit=True)
        db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        vector = TypeInfo.fetch(db, "vector")
        assert vector is not None
        # The number of the type is another one in each database.
        dumper = type("_OfDatabase", (_BinaryVector,), {"oid": vector.oid})
        db.adapters.register_dumper(np.ndarray, dumper)
        if not stored:
            columns = f"id bigint PRIMARY KEY, n bigint, v vector({width:d})"
            db.execute(f"CREATE TABLE points ({columns})")
            db.execute("CREATE INDEX ON points (n)")
        db.execute("SET max_parallel_workers_per_gather = 0")
        db.execute("SET hnsw.iterative_scan = strict_order")
        db.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(settings.hnsw_ef_search)])

    def upsert(self, points: Points) -> None:
        """Store points in one transaction."""
        rows = zip(points.numbers.tolist(), points.values.tolist(), points.vectors, strict=True)
        with self._db.transaction(), self._db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO points VALUES (%s, %s, %b)"
                " ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v",
                list(rows),
            )

    def build(self) -> None:
        """Build the graph, with the parameters of ours, and collect statistics of the rows."""
        if self.kind is IndexKind.HNSW:
            settings, workers = self._settings, str(self._settings.build_threads - 1)
            self._db.execute("SET maintenance_work_mem = '1GB'")
            self._db.execute(
                "SELECT set_config('max_parallel_maintenance_workers', %s, false)", [workers]
            )
            self._db.execute(
                f"CREATE INDEX ON points USING hnsw (v vector_cosine_ops)"
                f" WITH (m = {settings.hnsw_m:d},"
                f" ef_construction = {settings.hnsw_ef_construction:d})"
            )
        self._db.execute("VACUUM ANALYZE points")

    def search(self, query: Vectors, below: int | None) -> list[int]:
        """Search by one statement, which the server prepares once."""
        if below is None:
            found = self._db.execute(
                "SELECT id FROM points ORDER BY v <=> %b LIMIT %s", [query, TOP]
            )
        else:
            found = self._db.execute(
                "SELECT id FROM points WHERE n < %s ORDER BY v <=> %b LIMIT %s",
                [below, query, TOP],
            )
        return [number for (number,) in found]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

"""Databases of PostgreSQL for a benchmark: empty ones, which are dropped afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from tests.unit.index.storage.postgres.postgres_server import new_server

SETTINGS = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "1GB"}
"""Of a server that a benchmark starts: as durable as SQLite, and large enough for the points."""


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """Yield the URL of a new database on the server of a URL, whose role may create databases."""
    name = f"benchmark_{uuid4().hex[:8]}"
    created = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(created.format(sql.Identifier(name)))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def server(url: str | None) -> Iterator[str | None]:
    """Yield the URL, or that of a server of its own, None where PostgreSQL is not installed."""
    started = new_server() if url is None else None
    if started is None:
        yield url
        return
    started.create()
    started.start(**SETTINGS)
    try:
        yield started.url("postgres")
    finally:
        started.stop()

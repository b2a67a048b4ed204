"""Fixtures: a PostgreSQL server for the run, and an empty database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.unit.index.storage.postgres.postgres_server import PostgresServer, running_server

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase


@pytest.fixture(scope="session")
def server() -> PostgresServer:
    """Return a running server."""
    return running_server()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Return the URL of an empty database."""
    return server.create_database()


@pytest.fixture
def database(url: str) -> Iterator[OpenDatabase]:
    """Yield shard 0 of 2 in a database of its own."""
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    database = OpenDatabase(url)
    yield database
    database.close()

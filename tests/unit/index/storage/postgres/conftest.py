"""Fixtures: a PostgreSQL server for the run, and an empty database for each test."""

from __future__ import annotations

import pytest

from tests.unit.index.storage.postgres.postgres_server import PostgresServer, running_server


@pytest.fixture(scope="session")
def server() -> PostgresServer:
    """Return a running server."""
    return running_server()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Return the URL of an empty database."""
    return server.create_database()

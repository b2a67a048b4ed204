"""Fixtures: a server whose faults the tests cause, and a closed index in a database of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.index.faults.saved_index import written
from tests.unit.index.places import PLACES, Place
from tests.unit.index.storage.postgres.postgres_server import PostgresServer, running_server


@pytest.fixture
def server() -> PostgresServer:
    """Return the running server of all tests."""
    return running_server()


@pytest.fixture
def place(server: PostgresServer, tmp_path: Path) -> Place:
    """Return the place of a closed index with two collections, each of one saved segment."""
    assert server is running_server()
    return written(PLACES["postgres"](tmp_path / "index"))


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse a write soon if the database does not answer; a client sends it again."""
    running_server()
    monkeypatch.setattr("embedder.index.storage.postgres.writing.committer.PATIENCE_S", 0.2)

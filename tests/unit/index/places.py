"""Where an index of a test keeps its points: in a folder, or in a database.

Imports psycopg only where a test uses a database.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.waiting import eventually

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Place:
    """A folder with all data of an index, which one process uses at a time."""

    folder: Path
    url: str | None = None
    """The database, in a `DatabasePlace`."""

    @property
    def store(self) -> str:
        """Return the name of the store, which its package has as well."""
        return "sqlite"

    @property
    def location(self) -> str:
        """Return how the log of the operator names the data."""
        return str(self.folder / "truth.db")

    def settings(self, **changed: object) -> IndexSettings:
        """Return settings with tiny thresholds for an index in this place."""
        given = {} if self.url is None else {"url": self.url}
        return small_settings(self.folder, **given, **changed)

    def beside(self, name: str) -> Place:
        """Return the place of another process, if several may use the data at once."""
        assert name
        return self

    def crashed(self, index: VectorIndex, folder: Path) -> Place:
        """Return a copy in a new folder, as a crash of an idle process with this index leaves it.

        It waits for the writer: a copy of changing files is no simulation of a crash.
        """
        left, store = [None], index._shard.store
        while left:
            # Queued behind the purge steps that are queued now.
            store.submit(lambda _: lambda: None).result()
            with closing(sqlite3.connect(self.folder / "truth.db")) as db:
                left = db.execute("SELECT id FROM collections WHERE name IS NULL").fetchall()
        store.submit(lambda _: lambda: None).result()
        shutil.copytree(self.folder, folder)
        (folder / "truth.db-shm").unlink(missing_ok=True)
        return Place(folder)

    def execute(self, query: str) -> None:
        """Run a statement on the rows, behind the back of the index."""
        with closing(sqlite3.connect(self.folder / "truth.db")) as db, db:
            db.execute(query)

    def wait_until_left(self) -> None:
        """Wait until nothing works any longer for a killed process of this place."""

    def discard(self) -> None:
        """Delete the data; no index is open."""
        shutil.rmtree(self.folder, ignore_errors=True)


class DatabasePlace(Place):
    """A database, and a folder for the snapshots of one process."""

    @property
    def store(self) -> str:
        """Return the name of the store, which its package has as well."""
        return "postgres"

    @property
    def location(self) -> str:
        """Return how the log of the operator names the data."""
        return "PostgreSQL database"

    def beside(self, name: str) -> Place:
        """Return the place of another process, whose connections have this name."""
        assert self.url is not None
        url, _, _ = self.url.partition("&application_name")
        return DatabasePlace(self.folder.with_name(name), f"{url}&application_name={name}")

    def crashed(self, index: VectorIndex, folder: Path) -> Place:
        """Return a place as a crash leaves it: all connections are gone, also those of others."""
        assert index.stats().status == "ready"
        if self.folder.exists():
            shutil.copytree(self.folder, folder)
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return DatabasePlace(folder, self.url)

    def wait_until_left(self) -> None:
        """Wait until the database works no longer for a killed process of this place."""
        name = str(self.url).partition("application_name=")[2]
        query = (
            "SELECT FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s"
        )
        with self.connection() as db:
            assert eventually(lambda: not db.execute(query, [name]).fetchall())

    def discard(self) -> None:
        """Drop the database; no index is open."""
        super().discard()
        assert self.url is not None
        running_server().drop_database(self.url)

    def execute(self, query: str) -> None:
        """Run a statement on the rows, behind the back of the index."""
        with self.connection() as db:
            db.execute(query)

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """Yield a connection of the test to the database, in autocommit mode."""
        import psycopg

        assert self.url is not None
        with psycopg.connect(self.url, autocommit=True, application_name="tests") as db:
            yield db


def _database(folder: Path) -> Place:
    return DatabasePlace(folder, running_server().create_database())


PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": Place, "postgres": _database}
"""How to make an empty place for each store, given a folder that does not exist."""


def place_of(folder: Path, url: str | None) -> Place:
    """Return the place of a folder and a database, None for a folder alone."""
    return Place(folder) if url is None else DatabasePlace(folder, url)

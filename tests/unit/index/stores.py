"""The store that the tests of the index use at present: files, or a database for each directory."""

from __future__ import annotations

from pathlib import Path

from tests.unit.index.storage.postgres.postgres_server import running_server

STORES = ("sqlite", "postgres")


class TestedStore:
    """Gives directories databases while ``name`` is "postgres"."""

    __test__ = False

    def __init__(self) -> None:
        self.name = "sqlite"
        self._urls: dict[Path | None, str] = {}
        self._unnamed: list[str] = []
        self._free: list[str] = []

    def url(self, directory: Path | None) -> str | None:
        """Return the URL of the database of a directory; None is a new one. None: no database."""
        if self.name == "sqlite":
            return None
        if directory is None:
            self._unnamed.append(self._take())
            return self._unnamed[-1]
        if directory not in self._urls:
            self._urls[directory] = self._take()
        return self._urls[directory]

    def forget(self) -> None:
        """Empty all databases, which no index uses any longer, for later tests."""
        used = [*self._urls.values(), *self._unnamed]
        self._urls, self._unnamed = {}, []
        for url in used:
            _empty(url)
        self._free += used

    def _take(self) -> str:
        return self._free.pop() if self._free else running_server().create_database()


def _empty(url: str) -> None:
    """End all connections to a database, and delete its tables."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        db.execute("DROP SCHEMA IF EXISTS embedder CASCADE")


TESTED = TestedStore()

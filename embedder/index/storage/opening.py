"""Opens the store that the settings name. The packages of PostgreSQL are imported only here."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from embedder.core.errors import MissingExtra
from embedder.index.storage.protocol import Store
from embedder.index.storage.sqlite.store import SqliteStore
from embedder.settings.model import IndexSettings


def open_store(settings: IndexSettings, directory: Path, shard: int, shards: int) -> Store:
    """Return shard number ``shard`` of ``shards``: in the database of ``url``, or in a directory.

    The directory exists.

    Raises:
        ConfigurationError: the database cannot be used, or belongs to another service.
        DirectoryInUse: the directory has an owner.
        MissingExtra: ``url`` is set, and psycopg is not installed.
        NewerFormat: a later version wrote the data.
        StageUnavailable: the database does not answer.
        StorageDamaged: the data is damaged.
        StorageFull: the disk is full, and the reserve is used up.
        StorageReadOnly: the disk failed otherwise, or takes no writes.
    """
    if settings.url is None:
        durable = settings.directory is not None
        return SqliteStore(directory, settings.reserve_bytes, durable=durable)
    require_psycopg()
    from embedder.index.storage.postgres.store import PostgresStore

    return PostgresStore(settings.url.get_secret_value(), shard, shards)


def check_database(url: SecretStr, shards: int) -> str:
    """Connect to a database as the stores of ``shards`` shards do, and return its identity.

    The tables are created or migrated.

    Raises:
        ConfigurationError, MissingExtra, NewerFormat, StorageDamaged: as `open_store`.
        StageUnavailable, StorageReadOnly: as `open_store`.
    """
    require_psycopg()
    from embedder.index.storage.postgres.writing.writing_session import WritingSession

    session = WritingSession(url.get_secret_value(), 0, shards)
    session.close()
    return session.uuid


def require_psycopg() -> None:
    """Check that the package of PostgreSQL is installed.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtra("index.url", "psycopg", "postgres") from error

"""Read and check the rows of a shard without opening its store, so that nothing of it changes.

``settings`` names the database; without one, the rows are in ``directory``, and it is not None.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from embedder.index.storage.inspection import Inspection
from embedder.index.storage.opening import require_psycopg
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.sqlite.files import inspection, rebuilding, stopped_shard
from embedder.settings.model import IndexSettings


def find_shards(url: str) -> int | None:
    """Return the number of shards of the index in a database; None if there is no index.

    Raises:
        ConfigurationError: the database cannot be used.
        MissingExtra: psycopg is not installed.
        StageUnavailable: the database does not answer.
    """
    require_psycopg()
    from embedder.index.storage.postgres.inspection import find_shards

    return find_shards(url)


def read_rows(
    settings: IndexSettings, directory: Path | None, shard: int
) -> AbstractContextManager[Snapshot]:
    """Return the rows of a shard at one moment.

    Raises:
        ConfigurationError: the rows are not there, or the database cannot be used.
        DirectoryInUse: a running service uses the directory.
        MissingExtra: psycopg is not installed.
        NewerFormat: a later version wrote the rows.
        StageUnavailable: the database does not answer.
        StorageDamaged: the file is damaged.
    """
    if settings.url is None:
        assert directory is not None
        return stopped_shard.read_stopped(directory)
    require_psycopg()
    from embedder.index.storage.postgres.inspection import read_database

    return read_database(settings.url.get_secret_value(), shard)


def check_rows(settings: IndexSettings, directory: Path | None, shard: int) -> Inspection:
    """Compare every row of a shard with its checksum, and change nothing.

    Raises:
        ConfigurationError, DirectoryInUse, MissingExtra, NewerFormat, StageUnavailable: as
            `read_rows`.
    """
    if settings.url is None:
        assert directory is not None
        return inspection.inspect(directory)
    require_psycopg()
    from embedder.index.storage.postgres.inspection import inspect

    return inspect(settings.url.get_secret_value(), shard)


def rebuild_rows(
    settings: IndexSettings, directory: Path | None, shard: int
) -> tuple[Inspection, Path | None]:
    """Rebuild a damaged file from its undamaged collections; see `rebuilding.rebuild_file`.

    A database is only checked: its own backups restore it.
    """
    if settings.url is None:
        assert directory is not None
        return rebuilding.rebuild_file(directory)
    return check_rows(settings, directory, shard), None

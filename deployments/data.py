"""The folders in which the cache and the index keep their files.

Call these functions in the process that writes the files: "auto" means a folder of the user on the
node of that process.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import make_folder
from embedder.core.storage_errors import DirectoryInUse
from embedder.index.storage.disk.atomic_files import write_once
from embedder.index.storage.disk.lock import FILE_NAME, DirectoryLock

SHARDS_FILE, DATABASE_FILE = "SHARDS", "DATABASE"
REPLICA = "replica-"
CHOOSE = "choose another data_directory, in the configuration's args or EMBEDDER_DATA_DIRECTORY"


def data_directory(settings: ServeSettings) -> Path | None:
    """Return the service's data folder; None if the service keeps no data."""
    stated = settings.data_directory
    if stated != "auto":
        return None if stated is None else Path(stated).expanduser()
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/share")) / "embedder"


def cache_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the cache's shards; None if the service keeps no data."""
    if settings.cache.directory is not None:
        return Path(settings.cache.directory).expanduser()
    root = data_directory(settings)
    return None if root is None else root / "cache"


def index_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the index's shards; None if the service keeps no data."""
    root = data_directory(settings)
    return None if root is None else root / "index"


def claim_shards(settings: ServeSettings) -> None:
    """Record the number of shards at the first start; later, check that it is the same.

    The shard of a point depends on the number of shards. With another number, a point that is
    upserted again would be stored twice. A database of the index records the number itself.

    Raises:
        ConfigurationError: the stored index has another number of shards, or the folder cannot be
            written.
    """
    directory, shards = index_directory(settings), settings.index.shards
    if directory is None or settings.index.url is not None:
        return
    try:
        make_folder(directory)
        write_once(directory / SHARDS_FILE, f"{shards}\n".encode())
        _check_number(directory, shards)
    except OSError as error:
        raise ConfigurationError(f"the index cannot be kept in {directory}: {error}") from None


def claim_database(settings: ServeSettings, identity: str) -> None:
    """Record the identity of the index's database at the first start; later, check that it is it.

    Raises:
        ConfigurationError: it is another one, or the folder cannot be written.
    """
    directory = index_directory(settings)
    if directory is None:
        return
    path = directory / DATABASE_FILE
    try:
        make_folder(directory)
        write_once(path, f"{identity}\n".encode())
        recorded = path.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from None
    if recorded != identity:
        raise ConfigurationError(
            "index.url names another database than at the first start with this data_directory; "
            f"it may be that of another service: correct index.url, or {CHOOSE}, or remove {path} "
            "if the points have moved there"
        )


def claim_snapshots(directory: Path) -> DirectoryLock:
    """Lock a folder for the snapshots of one replica of a shard whose points are in a database.

    ``directory`` is the folder of the shard on this node. The folders in it are numbered, and the
    first free one is taken, so that a replica that starts again finds the snapshots of an earlier
    one.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        for number in count():
            folder = directory / f"{REPLICA}{number}"
            make_folder(folder)
            with suppress(DirectoryInUse):
                lock = DirectoryLock(folder)
                lock.sign(0)
                return lock
    except OSError as error:
        raise ConfigurationError(f"snapshots cannot be kept in {directory}: {error}") from None
    raise AssertionError("one of the folders is free")


def recorded_shards(directory: Path) -> int:
    """Return the recorded number of shards of the index in a folder.

    Raises:
        ConfigurationError: the record is missing or damaged.
    """
    path = directory / SHARDS_FILE
    try:
        recorded = path.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if not recorded.isdecimal():
        found = len([*directory.glob("VectorIndex-*")])
        raise ConfigurationError(
            f"{path} must hold the number of shards of the index, not {recorded[:20]!r}: write the "
            f"number into it; there are {found} folders of shards"
        )
    return int(recorded)


def check_data(settings: ServeSettings) -> None:
    """Refuse data folders that a service with these settings could not use; create no files.

    Raises:
        ConfigurationError: a running service uses the folders, they cannot be written, or the
            index in them has another number of shards.
    """
    directory = index_directory(settings)
    try:
        for folder in (cache_directory(settings), directory):
            if folder is not None:
                _check_writable(folder)
        if directory is None:
            return
        if settings.index.url is None and (directory / SHARDS_FILE).exists():
            _check_number(directory, settings.index.shards)
        replicas = directory.glob(f"VectorIndex-*/{REPLICA}*/{FILE_NAME}")
        for held in sorted([*directory.glob(f"VectorIndex-*/{FILE_NAME}"), *replicas]):
            DirectoryLock(held.parent).close()
    except DirectoryInUse as error:
        raise ConfigurationError(
            f"another service uses data_directory: {error}; {CHOOSE}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"data_directory cannot be written: {error}; {CHOOSE}") from None


def _check_writable(directory: Path) -> None:
    """Write an unnamed file into the folder, or into its nearest parent that exists."""
    existing = next(folder for folder in (directory, *directory.parents) if folder.exists())
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(b"written")


def _check_number(directory: Path, shards: int) -> None:
    recorded = recorded_shards(directory)
    if recorded != shards:
        raise ConfigurationError(
            f"index.shards is {shards}, but the index in {directory} has {recorded} shards: set "
            f"index.shards to {recorded}, or {CHOOSE}"
        )

"""Where the deployments with a state keep their files: one folder a service, a place for each.

Knows nothing of what they keep. Asked in the process that writes there, since the folder of "auto"
is that of the user on that node.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import make_folder
from embedder.core.storage_errors import DirectoryInUse
from embedder.index.storage.atomic_files import write_once
from embedder.index.storage.lock import FILE_NAME, DirectoryLock

NOTE = "SHARDS"
CHOOSE = "choose another data_directory, in the configuration's args or EMBEDDER_DATA_DIRECTORY"


def data_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of everything that is kept, or None where nothing is."""
    stated = settings.data_directory
    if stated != "auto":
        return None if stated is None else Path(stated).expanduser()
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/share")) / "embedder"


def cache_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the cache's shards, or None where nothing is kept."""
    if settings.cache.directory is not None:
        return Path(settings.cache.directory).expanduser()
    root = data_directory(settings)
    return None if root is None else root / "cache"


def index_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the index's shards, or None where nothing is kept."""
    root = data_directory(settings)
    return None if root is None else root / "index"


def claim_shards(settings: ServeSettings) -> None:
    """Note over how many shards the index lies, the first time; later, see that it still does.

    Which shard has a point follows from their number: with another, a point that is set again
    would be there twice.

    Raises:
        ConfigurationError: the data lies over another number of shards.
    """
    directory, shards = index_directory(settings), settings.index.shards
    if directory is None:
        return
    try:
        make_folder(directory)
        write_once(directory / NOTE, f"{shards}\n".encode())
        _check_number(directory, shards)
    except OSError as error:
        raise ConfigurationError(f"the index cannot be kept in {directory}: {error}") from None


def noted_shards(directory: Path) -> int:
    """Return over how many shards the index in a folder lies.

    Raises:
        ConfigurationError: the note of it cannot be read.
    """
    note = directory / NOTE
    try:
        noted = note.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigurationError(f"{note} cannot be read: {error.strerror}") from None
    if not noted.isdecimal():
        found = len([*directory.glob("VectorIndex-*")])
        raise ConfigurationError(
            f"{note} holds no number of shards ({noted[:20]!r}): write into it over how many the "
            f"index lies; there are {found} folders of shards"
        )
    return int(noted)


def check_data(settings: ServeSettings) -> None:
    """Refuse folders of this machine that a service with these settings could not use.

    Leaves nothing behind, whether they are there or not.

    Raises:
        ConfigurationError: a running service has them, they cannot be written, or what is in them
            lies over another number of shards.
    """
    directory = index_directory(settings)
    try:
        for one in (cache_directory(settings), directory):
            if one is not None:
                _check_writable(one)
        if directory is None:
            return
        if (directory / NOTE).exists():
            _check_number(directory, settings.index.shards)
        for held in sorted(directory.glob(f"VectorIndex-*/{FILE_NAME}")):
            DirectoryLock(held.parent).release()
    except DirectoryInUse as error:
        raise ConfigurationError(
            f"data_directory is another service's: {error}; {CHOOSE}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"data_directory cannot be written: {error}; {CHOOSE}") from None


def _check_writable(directory: Path) -> None:
    """Write a file without a name where the folder is, or would be made."""
    there = next(one for one in (directory, *directory.parents) if one.exists())
    with tempfile.TemporaryFile(dir=there) as file:
        file.write(b"written")


def _check_number(directory: Path, shards: int) -> None:
    noted = noted_shards(directory)
    if noted != shards:
        raise ConfigurationError(
            f"index.shards is {shards}, and what is in {directory} lies over {noted}: set that "
            f"number, or {CHOOSE}"
        )

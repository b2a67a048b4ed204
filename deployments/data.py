"""Where the deployments with a state keep their files: one folder a service, a place for each.

Knows nothing of what they keep. Asked in the process that writes there, since the folder of "auto"
is that of the user on that node.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from deployments.settings import ServeSettings
from embedder.errors import ConfigurationError


def cache_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the cache's shards, or None where nothing is kept."""
    if settings.cache.directory is not None:
        return Path(settings.cache.directory)
    root = _root(settings.data_directory)
    return None if root is None else root / "cache"


def index_directory(settings: ServeSettings) -> Path | None:
    """Return the folder of the index's shards, or None where nothing is kept."""
    root = _root(settings.data_directory)
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
    note = directory / "SHARDS"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), note.open("x") as file:
            file.write(f"{shards}\n")
        noted = note.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"the index cannot be kept in {directory}: {error}") from None
    if noted != str(shards):
        raise ConfigurationError(
            f"index.shards is {shards}, and what is in {directory} lies over {noted}: set that "
            f"number, or export the collections and restore them into an empty directory"
        )


def _root(stated: str | None) -> Path | None:
    if stated != "auto":
        return None if stated is None else Path(stated).expanduser()
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/share")) / "embedder"

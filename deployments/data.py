"""Where the deployments with a state keep their files: one folder a service, a place for each.

Knows nothing of what they keep. Asked in the process that writes there, since the folder of "auto"
is that of the user on that node.
"""

from __future__ import annotations

import os
from pathlib import Path

from deployments.settings import ServeSettings


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


def _root(stated: str | None) -> Path | None:
    if stated != "auto":
        return None if stated is None else Path(stated).expanduser()
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.local/share")) / "embedder"

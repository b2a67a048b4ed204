"""Check the stored rows of an index, and build again what can be derived from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments.operations.stored_index import StoredIndex, naming_remedy
from embedder.index.rebuilding import rebuild_snapshots
from embedder.index.storage.atomic_files import raising_not_written
from embedder.index.storage.inspection import Inspection
from embedder.index.storage.stored_rows import check_rows, rebuild_rows


def check(index: StoredIndex) -> dict[str, Inspection]:
    """Return what a check of every row has found, by the name of the shard; nothing changes.

    Raises:
        ConfigurationError: a running service uses the files.
    """
    with naming_remedy():
        return dict(zip(index.names, map(check_rows, index.folders), strict=True))


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt shard; ``old_file`` is the damaged file, None if it was undamaged."""

    shard: str
    inspection: Inspection
    old_file: Path | None


def rebuild(index: StoredIndex) -> Iterator[Rebuilt]:
    """Rebuild shard after shard: a damaged file from its intact collections, then all snapshots.

    Raises:
        ConfigurationError: a running service uses the files.
        NotWritten: a file cannot be written, for example on a full disk.
    """
    with naming_remedy():
        for name, folder in zip(index.names, index.folders, strict=True):
            inspection, old_file = rebuild_rows(folder)
            settings = index.settings.model_copy(update={"directory": str(folder)})
            with raising_not_written(folder):
                rebuild_snapshots(settings, name, index.shards)
            yield Rebuilt(name, inspection, old_file)

"""Check the stored rows of an index, and build again what can be derived from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from deployments.data import REPLICA, claim_snapshots
from deployments.operations.stored_index import StoredIndex, naming_remedy
from embedder.core.errors import ConfigurationError
from embedder.index.offline.rebuilding import delete_snapshots, save_snapshots
from embedder.index.storage.disk.atomic_files import raising_not_written
from embedder.index.storage.inspection import Inspection
from embedder.index.storage.stored_rows import check_rows, rebuild_rows


def check(index: StoredIndex) -> dict[str, Inspection]:
    """Return what a check of every row has found, by the name of the shard; nothing changes.

    Raises:
        ConfigurationError: a running service uses the files.
    """
    with naming_remedy():
        return {
            name: check_rows(index.settings, folder, shard)
            for shard, (name, folder) in enumerate(zip(index.names, index.folders, strict=True))
        }


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt shard; ``old_file`` is the damaged file, None if it was undamaged."""

    shard: str
    inspection: Inspection
    old_file: Path | None


def rebuild(index: StoredIndex) -> Iterator[Rebuilt]:
    """Rebuild shard after shard: a damaged file from its intact collections, then all snapshots.

    A database is not changed; the snapshots of its shards are those on this machine.

    Raises:
        ConfigurationError: a running service uses the files, or there are none.
        NotWritten: a file cannot be written, for example on a full disk.
    """
    for shard, (name, folder) in enumerate(zip(index.names, index.folders, strict=True)):
        if folder is None:
            raise ConfigurationError(
                "a URL names no folder of snapshots: name the configuration of the service instead"
            )
        with naming_remedy(), raising_not_written(folder), ExitStack() as stack:
            inspection, old_file = rebuild_rows(index.settings, folder, shard)
            if index.settings.url is not None:
                for replica in folder.glob(f"{REPLICA}*"):
                    delete_snapshots(replica)
                folder = stack.enter_context(closing(claim_snapshots(folder))).directory
            else:
                delete_snapshots(folder)
            # Without the object store, from which the old snapshots would be downloaded.
            changed = {"directory": str(folder), "snapshots": None}
            settings = index.settings.model_copy(update=changed)
            save_snapshots(settings, name, index.shards)
        yield Rebuilt(name, inspection, old_file)

"""Replicas of one shard: each has a folder of its own, and all have the same objects.

A copy of the SQLite file stands for a database that all replicas read.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.objects.downloading import Downloads
from embedder.index.objects.object_store import ObjectStore
from embedder.index.objects.uploading import ShardState, Uploads
from embedder.index.segments.snapshot_folder import SnapshotFolder
from embedder.index.segments.snapshot_format import SnapshotIdentity
from embedder.index.storage.sqlite.store import SqliteStore
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import merge_all, save, small_settings

COUNT, WIDTH = 40, 4
ROWS = np.random.default_rng(5).normal(0, 1, (COUNT, WIDTH)).astype(np.float32)
RECOVERY_S = 1e-6
"""So short that all points are saved, and no missing ones are read instead of downloaded."""

IDS = [f"p{number}" for number in range(COUNT)]


class Replica:
    """A replica that downloads before it opens its index, and uploads on demand."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.leads = True
        self.history = "one"
        self.now = 0.0
        settings = small_settings(folder, recovery_s=RECOVERY_S)
        store = SqliteStore(folder, 0, durable=True)
        rows, self.database = store.collections(), store.uuid
        store.close()
        self.objects = ObjectStore(url, self.database)
        self.downloads = Downloads(self.objects, self.history, settings)
        for row in rows:
            if row.width is not None:
                identity = SnapshotIdentity(
                    database=self.database, collection=row.uuid, metric=row.metric, width=row.width
                )
                directory = folder / "collections" / row.uuid
                self.downloads.fill(row, SnapshotFolder(directory, identity))
        self.index = VectorIndex(settings, background=False)
        self.uploads = Uploads(self.objects, self._state(), clock=lambda: self.now)

    def _state(self) -> ShardState:
        collections = self.index._shard.collections
        return ShardState(
            lambda: self.leads,
            lambda: self.history,
            lambda _: {one.uuid: one.segments_of("") or () for one in collections.open.values()},
            lambda: {row.uuid for row in self.index._shard.store.collections()},
            RECOVERY_S,
        )

    def put(self, first: int = 0, count: int = COUNT, name: str = "c") -> None:
        """Write points, and save them as a segment of their own."""
        self.index.create(name, Spec(Metric.L2))
        rows = slice(first, first + count)
        self.index.upsert(name, Points(IDS[rows], ROWS[rows], [None] * count, [{}] * count))
        save(self.index, name)

    def merge(self) -> None:
        """Merge all segments into one, and save it."""
        merge_all(self.index, "c")
        save(self.index, "c")

    def found(self) -> list[str]:
        """Return the ids of all points, the nearest to the first point first."""
        (hits,) = self.index.search([Query("c", ROWS[0], COUNT)])
        return [hit.id for hit in hits]

    @property
    def read(self) -> int:
        """Return how many points the start has read from the store."""
        return self.index.stats().recovery.points_from_store

    def stored(self) -> list[str]:
        """Return the names of all objects."""
        return sorted(self.objects.find())

    def close(self) -> None:
        """Close the index."""
        self.index.close()


def nearest() -> list[str]:
    """Return the ids of all points, the nearest to the first point first."""
    order = np.argsort(np.linalg.norm(ROWS - ROWS[0], axis=1))
    return [IDS[row] for row in order.tolist()]


def on_empty_node(replica: Replica, folder: Path) -> Path:
    """Return a new folder with the stored points of a closed replica, and no snapshots."""
    folder.mkdir()
    for path in replica.folder.glob("truth.db*"):
        shutil.copy(path, folder)
    return folder


def restarted(replica: Replica, folder: Path, url: str) -> Replica:
    """Close a replica, and open another one on an empty node."""
    replica.close()
    return Replica(on_empty_node(replica, folder), url)

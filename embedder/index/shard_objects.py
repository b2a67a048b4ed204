"""The snapshots of one shard in an object store: downloaded at its start, uploaded later."""

from __future__ import annotations

from embedder.index.collection.registry import CollectionRegistry
from embedder.index.objects.downloading import Downloads
from embedder.index.objects.object_store import ObjectStore
from embedder.index.objects.uploading import ShardState, Uploads
from embedder.index.shard_folder import ShardFolder
from embedder.index.sharding import number_of
from embedder.index.storage.protocol import Store
from embedder.settings.index import IndexSettings


class ShardObjects:
    """The objects of the shard ``name``, whose store is open, in the ``snapshots`` of the settings.

    Raises:
        ConfigurationError: the driver is not installed, or refuses the URL or its configuration.
        MissingExtra: fsspec is not installed.
        StageUnavailable: the store of the index does not answer.
    """

    def __init__(
        self, settings: IndexSettings, name: str, store: Store, collections: CollectionRegistry
    ) -> None:
        assert settings.snapshots is not None
        self._store = store
        self._objects = ObjectStore(settings.snapshots, f"{store.uuid}/{number_of(name)}")
        self._history = store.history()
        self._downloads = Downloads(self._objects, self._history, settings)
        shard = ShardState(
            store.leads,
            store.history,
            lambda history: {
                one.uuid: segments
                for one in collections.open.values()
                if (segments := one.segments_of(history)) is not None
            },
            lambda: {row.uuid for row in store.collections()},
            settings.recovery_s,
        )
        self._uploads = Uploads(self._objects, shard)
        self.upload = self._uploads.attempt
        self.close = self._uploads.close

    @property
    def failures(self) -> int:
        """Return how many calls of the object store have failed."""
        return self._objects.failures

    @property
    def damaged(self) -> int:
        """Return how many objects, and local snapshots beside them, were found damaged."""
        return self._downloads.damaged

    def open(self, folder: ShardFolder, *, background: bool) -> None:
        """Download the snapshots that a folder lacks for the stored collections.

        ``background`` starts a thread that uploads until `close`.
        """
        for row in self._store.collections():
            if row.width is not None:
                snapshots = folder.snapshots(self._store.uuid, row, row.width, self._history)
                self._downloads.fill(row, snapshots)
        if background:
            self._uploads.start()

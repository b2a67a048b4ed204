"""One open collection: committed writes become visible in it, and its segments are maintained.

The one writer applies writes after their commit, and one thread at a time runs maintenance.
Searches take the state and wait for neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.collection_segments import (
    APPLY_TIMEOUT_S,
    CollectionSegments,
    Environment,
)
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.index.segments.faiss_index import Stopped
from embedder.index.segments.segment import Segment
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.records import CollectionRow


class OpenCollection:
    """Named points under one metric; the first vector decides the width."""

    def __init__(self, row: CollectionRow, environment: Environment) -> None:
        """Open a collection and load its points.

        Raises:
            StorageDamaged: its rows are not those that were written.
        """
        assert row.name is not None
        self.id = row.id
        self.uuid = row.uuid
        self.name = row.name
        self.spec = row.spec
        self.metric = row.metric
        self.points_from_store = 0
        """Points that no snapshot had when the collection was opened."""
        self.damaged_snapshots = self.save_failures = 0
        """Snapshots that were set aside, and failed saves, since the start."""
        self._row = row
        self._environment = environment
        self._maintaining = threading.Lock()
        self._dropped = threading.Event()
        self._retired = threading.Event()
        self._seen: tuple[Segment, ...] = ()
        self._segments: CollectionSegments | None = None
        if row.width is not None:
            self._segments = self._load(row)

    @property
    def width(self) -> int | None:
        """Return the number of components of its vectors, None while it may be any."""
        return self._segments.index.state.width if self._segments else self.spec.width

    @property
    def state(self) -> IndexState | None:
        """Return the state that a search reads, None before the first vector."""
        return self._segments.index.state if self._segments else None

    def describe(self) -> CollectionInfo:
        """Return the current description of the collection."""
        spec, state = self.spec, self.state
        segments = state.segments if state else ()
        largest = max(segments, key=lambda one: one.count, default=None)
        return CollectionInfo(
            self.name,
            spec.metric,
            spec.kind.value,
            self.width,
            state.count if state else 0,
            state.sequence if state else self._row.sequence,
            spec.model,
            serving=largest.kind.value if largest else "flat",
            segments=len(segments),
            deleted=state.deleted if state else 0,
            pending=state.delta.count if state else 0,
            model_revision=spec.stored.revision if spec.stored else None,
            model_digest=spec.stored.digest if spec.stored else None,
            model_pooling=spec.stored.pooling if spec.stored else None,
            identity=str(spec.identity),
        )

    def check(self, identity: str | None, model: StoredModel | None) -> None:
        """Refuse a request that was made for another collection or model; None is not compared.

        Raises:
            StaleCollection: the identity or the recorded model differs.
        """
        stored = self.spec.stored
        other = model is not None and stored is not None and not stored.is_same(model)
        if other or identity not in (None, self.spec.identity):
            raise StaleCollection(self.name)

    def record(self, row: CollectionRow) -> None:
        """Use the model that a committed write has recorded."""
        self.spec = replace(self.spec, model=row.model, stored=row.stored)

    def put(self, pks: NDArray[np.int64], sequence: int, ids: list[str], vectors: Vectors) -> None:
        """Make committed points visible; ``vectors`` are normalized."""
        if self._segments is None:
            self._segments = CollectionSegments(
                self._row, vectors.shape[1], self._environment, self._should_stop, load=False
            )
        self._segments.index.put(pks, sequence, ids, vectors)

    def remove(self, pks: NDArray[np.int64], sequence: int) -> None:
        """Make committed deletions visible."""
        assert self._segments is not None, "a point is put before it is deleted"
        self._segments.index.remove(pks, sequence)

    def wait(self, sequence: int) -> None:
        """Wait until the write of this number is visible, `APPLY_TIMEOUT_S` at most."""
        if self._segments is not None:
            self._segments.index.wait(sequence, APPLY_TIMEOUT_S)

    def fetch(self, pks: NDArray[np.int64]) -> Vectors:
        """Read the normalized vectors of distinct pks from the store; zeros for a deleted point."""
        assert self._segments is not None, "only a search of segments fetches"
        return self._segments.fetch(pks)

    def has_changed(self) -> bool:
        """Return whether the segments or their deleted rows changed since the last call.

        Only one thread may call this.
        """
        seen, self._seen = self._seen, self.state.segments if self.state else ()
        return len(seen) != len(self._seen) or any(
            before is not after for before, after in zip(seen, self._seen, strict=True)
        )

    def maintain(self) -> bool:
        """Run one merge or save that is due; return False if none is.

        Raises:
            OSError: the disk failed or is full.
            StorageDamaged: a row that a merge read fails its checksum.
        """
        with self._maintaining:
            segments = self._segments
            if self.is_dropped and segments is not None:
                segments.snapshots.remove()
            if segments is None or self.is_dropped or self._retired.is_set():
                return False
            try:
                with self._naming():
                    return segments.merge_next() or self._save_next(
                        segments, self._environment.settings.recovery_s
                    )
            except Stopped:
                return False

    def drop(self) -> None:
        """Mark the collection as deleted; the next `maintain` deletes its snapshots."""
        self._dropped.set()

    @property
    def is_dropped(self) -> bool:
        """Return whether the collection was deleted."""
        return self._dropped.is_set()

    def retire(self) -> None:
        """Stop the running merge and start no other; the files stay."""
        self._retired.set()

    def reload(self, row: CollectionRow) -> None:
        """Load the collection again after a write was applied only in part.

        Raises:
            StorageDamaged: its rows are not those that were written.
        """
        self._retired.set()
        with self._maintaining:
            self._segments = self._load(row)
        self._retired.clear()

    def _load(self, row: CollectionRow) -> CollectionSegments:
        assert row.width is not None
        with self._naming():
            segments = CollectionSegments(
                row, row.width, self._environment, self._should_stop, load=True
            )
        self.points_from_store = segments.points_from_store
        self.damaged_snapshots += segments.snapshots.damaged
        return segments

    def _save_next(self, segments: CollectionSegments, recovery_s: float) -> bool:
        try:
            return segments.save_next(recovery_s)
        except OSError:
            self.save_failures += 1
            raise

    def _should_stop(self) -> bool:
        return self.is_dropped or self._retired.is_set() or self._environment.should_stop()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Add the name of the collection to an error about damaged rows."""
        try:
            yield
        except StorageDamaged as error:
            raise error.of(self.name) from error

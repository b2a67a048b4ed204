"""One open collection: committed writes become visible in it, and its segments are maintained.

One thread at a time applies writes after their commit, and one runs maintenance. Searches take the
state and wait for neither.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.core.types import Vectors
from embedder.index.collection.collection_segments import CollectionSegments, Environment
from embedder.index.collection.naming_damage import naming
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.index.segments.faiss_index import Stopped
from embedder.index.segments.segment import Segment
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.change_log import Changes
from embedder.index.storage.reader import Reader
from embedder.index.storage.records import CollectionRow

APPLY_TIMEOUT_S = 2.0
"""Upper bound on waiting for a committed write to become visible, which normally is immediate."""


class OpenCollection:
    """Named points under one metric; the first vector decides the width."""

    def __init__(self, row: CollectionRow, environment: Environment) -> None:
        """Open a collection and load its points.

        Raises:
            StorageDamaged: its rows are not those that were written.
        """
        assert row.name is not None
        self.id, self.uuid = row.id, row.uuid
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
        self._cannot_save = False
        self._applying = threading.Lock()  # a thread that needs both takes `_maintaining` first
        self._dropped, self._retired = threading.Event(), threading.Event()
        self._seen: tuple[Segment, ...] = ()
        self._segments = self._load(row)

    @property
    def width(self) -> int | None:
        """Return the number of components of its vectors, None while it may be any."""
        return self._segments.index.state.width if self._segments else self.spec.width

    @property
    def state(self) -> IndexState | None:
        """Return the state that a search reads, None before the first vector."""
        return self._segments.index.state if self._segments else None

    @property
    def sequence(self) -> int:
        """Return the number of the last visible write."""
        return self._segments.index.state.sequence if self._segments else self._row.sequence

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
            self.sequence,
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

    def segments_of(self, history: str) -> Sequence[Segment] | None:
        """Return the segments, None if they are of another history; see `Snapshot.history`."""
        if (held := self._segments) is None:
            return ()
        return held.index.state.segments if held.history == history else None

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
        if row.stored not in (None, self.spec.stored):
            self.spec = replace(self.spec, model=row.model, stored=row.stored)

    def apply(self, write: Changes) -> None:
        """Make an own committed write visible, unless it is; its vectors are normalized."""
        with self._applying:
            if write.sequence > self.sequence:
                self._apply([write], write.vectors.shape[1])

    def wait(self, sequence: int) -> None:
        """Wait until the write of this number is visible, `APPLY_TIMEOUT_S` at most."""
        if self._segments is not None:
            self._segments.index.wait(sequence, APPLY_TIMEOUT_S)

    def fetch(self, reader: Reader, pks: NDArray[np.int64]) -> Vectors:
        """Read the normalized vectors of distinct pks; zeros for a deleted point."""
        assert self._segments is not None, "only a search of segments fetches"
        return self._segments.fetch(reader, pks)

    def has_changed(self) -> bool:
        """Return whether the segments or their deleted rows changed since the last call."""
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
                with naming(self.name):
                    return self._step(segments)
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

    def reload(self, unless: str | None = None) -> None:
        """Load the collection again, unless it is of the history ``unless`` by now.

        Raises:
            UnknownCollection: the collection was deleted.
            StorageDamaged: its rows are not those that were written.
        """
        self._retired.set()
        try:
            with self._maintaining, self._applying:
                if unless is None or self.segments_of(unless) is None:
                    with self._environment.one_moment() as reader:
                        self._row = self._row_in(reader)
                    self.spec = self._row.spec
                    self._segments = self._load(self._row)
        finally:
            self._retired.clear()

    def _load(self, row: CollectionRow) -> CollectionSegments | None:
        if row.width is None:
            return None
        with naming(self.name), self._environment.one_moment() as reader:
            # A restored or staged collection has another name until it is complete.
            with reader.snapshot() as stored:
                found, history = stored.find_collection(self.name), stored.history
            segments = CollectionSegments(
                found if found is not None and found.id == row.id else row,
                *(row.width, self._environment, self._should_stop, history),
                source=reader,
            )
        self.points_from_store = segments.points_from_store
        self.damaged_snapshots += segments.snapshots.damaged
        return segments

    def _row_in(self, reader: Reader) -> CollectionRow:
        with reader.snapshot() as stored:
            row = stored.find_collection(self.name)
        if row is None or (row.id, row.uuid) != (self.id, self.uuid):
            raise UnknownCollection("collection", self.name)
        return row

    def _apply(self, pages: Sequence[Changes], width: int) -> None:
        if self._segments is None:
            self._segments = CollectionSegments(
                *(self._row, width, self._environment, self._should_stop, pages[0].history),
                source=None,
            )
        self._segments.index.apply(pages)

    def _show(self, sequence: int) -> None:
        """Make the write of this number visible to a merge that has read it."""
        self.wait(sequence)

    def _step(self, segments: CollectionSegments) -> bool:
        """Save before the next merge, because merges never end while writes arrive fast enough.

        After a failure merges come first: they need no disk.
        """
        save = partial(self._save_next, segments, self._environment.settings.recovery_s)
        merge = partial(segments.merge_next, self._show)
        first, second = (merge, save) if self._cannot_save else (save, merge)
        return first() or second()

    def _save_next(self, segments: CollectionSegments, recovery_s: float) -> bool:
        self._cannot_save = True
        try:
            saved = segments.save_next(recovery_s)
        except OSError:
            self.save_failures += 1
            raise
        self._cannot_save = False
        return saved

    def _should_stop(self) -> bool:
        return self.is_dropped or self._retired.is_set() or self._environment.should_stop()

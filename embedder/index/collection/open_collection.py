"""One collection as it is served: its projection, and the housekeeping of its segments.

Writes come from the one writer after they are committed, housekeeping from one thread at a time;
searches take the state and need neither. Knows nothing of other collections.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.description import described
from embedder.index.collection.recovery import fetching, recover
from embedder.index.contract.points import CollectionInfo, Metric, StoredModel
from embedder.index.segments.faiss_index import Stopped
from embedder.index.segments.index_state import IndexState, LiveSegment
from embedder.index.segments.merge_policy import SegmentFacts, needs_merging, to_merge, to_save
from embedder.index.segments.segment_builder import SegmentBuilder
from embedder.index.segments.segment_index import SegmentIndex
from embedder.index.segments.snapshot_folder import SnapshotFolder
from embedder.index.storage.failpoints import reach
from embedder.index.storage.reading import Reader
from embedder.index.storage.writes import CollectionRow
from embedder.settings.model import IndexSettings

APPLY_TIMEOUT_S = 2.0
"""A committed write becomes visible at once; what is not by then is not waited for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the collections of a shard have in common."""

    reader: Reader
    settings: IndexSettings
    snapshots: Callable[[CollectionRow, int], SnapshotFolder]
    should_stop: Callable[[], bool]


class OpenCollection:
    """Named points under one metric; the first vector decides the width."""

    def __init__(self, row: CollectionRow, around: Environment) -> None:
        """Open a collection and bring it up to date.

        Raises:
            StorageDamaged: its rows are not what was written.
        """
        assert row.name is not None
        self.id = row.id
        self.uuid = row.uuid
        self.name = row.name
        self.spec = row.spec
        self.replayed = 0
        self.save_failures = 0
        self._around = around
        self._keeping = threading.Lock()
        self._dropped = threading.Event()
        self._retired = threading.Event()
        self._snapshots: SnapshotFolder | None = None
        self._projection: SegmentIndex | None = None
        self._sequence = row.sequence
        self._seen: tuple[LiveSegment, ...] = ()
        if row.width is not None:
            self._begin(row.width, row)

    @property
    def metric(self) -> Metric:
        """Return how near its vectors are measured."""
        return self.spec.metric

    @property
    def width(self) -> int | None:
        """Return the width of its vectors, None while it may be any."""
        return self._projection.width if self._projection else self.spec.width

    @property
    def state(self) -> IndexState | None:
        """Return what a search may look at, None while there was never a vector."""
        return self._projection.state if self._projection else None

    @property
    def damaged_snapshots(self) -> int:
        """Return how many files were set aside since the start."""
        return self._snapshots.damaged if self._snapshots else 0

    def describe(self) -> CollectionInfo:
        """Return what is known of the collection now."""
        return described(self.name, self.spec, self.width, self._sequence, self.state)

    def check(self, identity: str | None, model: StoredModel | None) -> None:
        """Refuse work for another collection of this name; None is not compared.

        Raises:
            StaleCollection: the identity, or the recorded model, is another.
        """
        stored = self.spec.stored
        other = model is not None and stored is not None and not stored.is_same(model)
        if other or identity not in (None, self.spec.identity):
            raise StaleCollection(self.name)

    def record(self, row: CollectionRow) -> None:
        """Take over which model computes the vectors, once that is committed."""
        self.spec = replace(self.spec, model=row.model, stored=row.stored)

    def put(
        self, pks: NDArray[np.int64], sequence: int, names: list[str], vectors: Vectors
    ) -> None:
        """Make committed points visible, of which the vectors are placed."""
        if self._projection is None:
            self._begin(vectors.shape[1], None)
        assert self._projection is not None
        self._projection.put(pks, sequence, names, vectors)

    def remove(self, pks: NDArray[np.int64], sequence: int) -> None:
        """Make committed deletions visible."""
        assert self._projection is not None, "what is deleted was put before"
        self._projection.remove(pks, sequence)

    def wait(self, sequence: int) -> bool:
        """Wait until the write of this number can be seen."""
        return self._projection is None or self._projection.wait(sequence, APPLY_TIMEOUT_S)

    def has_changed(self) -> bool:
        """Say whether a segment came, went or lost rows since the last call; one thread asks."""
        seen, self._seen = self._seen, self.state.segments if self.state else ()
        return len(seen) != len(self._seen) or any(
            before is not after for before, after in zip(seen, self._seen, strict=True)
        )

    def maintain(self) -> bool:
        """Merge or save what is due, one thing; False when nothing is."""
        with self._keeping:
            try:
                if self.is_dropped:
                    return self._clear()
                if self._retired.is_set():
                    return False
                with self._naming():
                    return self._merge_next() or self._save_next(self._around.settings.recovery_s)
            except Stopped:
                return False

    def save_all(self) -> None:
        """Seal the delta and save every segment, whatever it would cost to do without.

        Raises:
            OSError: the disk refused.
        """
        with self._keeping:
            if self._projection is not None:
                self._projection.seal()
                while self._save_next(0.0):
                    pass

    def merge_all(self) -> None:
        """Seal the delta and merge all segments into one, in which a search is quickest.

        Raises:
            Stopped: the index is closing.
        """
        with self._keeping:
            if self._projection is not None:
                self._projection.seal()
                state = self._projection.state
                facts = self._facts(state)
                if needs_merging(facts, self.spec.kind, self._around.settings):
                    self._merge(state.segments)

    def drop(self) -> None:
        """Note that the collection is gone from the truth; `maintain` deletes its files."""
        self._dropped.set()

    @property
    def is_dropped(self) -> bool:
        """Say whether the collection is gone."""
        return self._dropped.is_set()

    def retire(self) -> None:
        """Begin no more work on the segments, and give up what is under way; files stay."""
        self._retired.set()

    def reload(self, row: CollectionRow) -> None:
        """Read the collection again from the truth, after an update in memory failed halfway.

        Raises:
            StorageDamaged: its rows are not what was written.
        """
        assert row.width is not None
        self._retired.set()
        with self._keeping:
            self._begin(row.width, row)
        self._retired.clear()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Say which collection it is whose rows are damaged."""
        try:
            yield
        except StorageDamaged as error:
            raise error.of(self.name) from error

    def fetch(self, pks: NDArray[np.int64]) -> Vectors:
        """Return placed vectors from the truth, as `merging.Fetch`."""
        return self._fetch(pks)

    def _clear(self) -> bool:
        if self._snapshots is not None:
            self._snapshots.remove()
        return False

    def _should_stop(self) -> bool:
        return self.is_dropped or self._retired.is_set() or self._around.should_stop()

    def _begin(self, width: int, row: CollectionRow | None) -> None:
        builder = SegmentBuilder(
            self.spec.kind,
            self.spec.metric,
            width,
            self._around.settings,
            self._should_stop,
        )
        segments: list[LiveSegment] = []
        known = row or CollectionRow(
            *(self.id, self.uuid, self.name, self.metric, self.spec.kind, width, None, 0, 0),
            identity=str(self.spec.identity),
        )
        snapshots = self._around.snapshots(known, width)
        if row is not None:
            with self._naming():
                found = recover(self._around.reader, row, snapshots, builder)
            segments, self.replayed = found.segments, found.replayed
        self._fetch = fetching(self._around.reader, builder)
        self._builder = builder
        self._snapshots = snapshots
        self._projection = SegmentIndex(
            width,
            seal_rows=self._around.settings.delta_rows,
            seal=builder.seal,
            segments=segments,
            sequence=known.sequence,
        )

    def _facts(self, state: IndexState) -> list[SegmentFacts]:
        return [
            SegmentFacts(
                live.segment.kind, len(live.segment), live.dead, live.segment.path is not None
            )
            for live in state.segments
        ]

    def _merge_next(self) -> bool:
        state = self.state
        if state is None:
            return False
        places = to_merge(self._facts(state), self.spec.kind, self._around.settings)
        if not places:
            return False
        return self._merge([state.segments[place] for place in places])

    def _merge(self, sources: list[LiveSegment] | tuple[LiveSegment, ...]) -> bool:
        projection = self._projection
        assert projection is not None
        merged = self._builder.merge(sources, self._fetch)
        # What was read from the truth may be newer than what is visible: not for long.
        row = self._around.reader.collection(self.name)
        if row is not None and row.id == self.id:
            projection.wait(row.sequence, APPLY_TIMEOUT_S)
        swapped = projection.swap(sources, merged)
        reach("merge.after_swap")
        return swapped

    def _save_next(self, recovery_s: float) -> bool:
        projection, snapshots = self._projection, self._snapshots
        if projection is None or snapshots is None:
            return False
        state = projection.state
        place = to_save(self._facts(state), recovery_s)
        if place is None:
            return False
        segment = state.segments[place].segment
        try:
            projection.exchange(segment, snapshots.save(segment))
            live = projection.state.segments
            snapshots.drop_spares([one.segment.path for one in live if one.segment.path])
        except OSError:
            self.save_failures += 1
            raise
        return True

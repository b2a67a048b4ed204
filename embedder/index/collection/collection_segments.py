"""The segments of an open collection: recovered at the start, then merged and saved.

At the start, a row of a snapshot is live if the store has the same version of the same point.
Points that no snapshot has are read from the store. So missing, old or damaged snapshots only cost
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.segments.bitmap import pack_bits
from embedder.index.segments.merge_policy import to_merge, to_save
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import Segment, are_among
from embedder.index.segments.segment_builder import SegmentBuilder
from embedder.index.segments.segment_index import SegmentIndex
from embedder.index.segments.snapshot_folder import MIN_LIVE_SHARE, SnapshotFolder
from embedder.index.storage.change_log import ChangeLog
from embedder.index.storage.failpoints import reach
from embedder.index.storage.reader import Reader
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import DISAGREE
from embedder.settings.model import IndexSettings


@dataclass(frozen=True, slots=True)
class Environment:
    """The objects that all collections of a shard share."""

    reader: Reader
    log: ChangeLog | None
    settings: IndexSettings
    snapshots: Callable[[CollectionRow, int, str], SnapshotFolder]
    should_stop: Callable[[], bool]

    @contextmanager
    def one_moment(self) -> Iterator[Reader]:
        """Yield a reader; if other processes write too, its rows are those of one moment."""
        if self.log is None:
            yield self.reader
        else:
            with self.log.pinned() as reader:
                yield reader


class CollectionSegments:
    """The index of one collection and its snapshots.

    Only one thread at a time may merge or save. Searches and the writer use ``index`` meanwhile.
    """

    def __init__(
        self,
        row: CollectionRow,
        width: int,
        environment: Environment,
        should_stop: Callable[[], bool],
        history: str,
        *,
        source: Reader | None,
    ) -> None:
        """Open the segments, and read the points that the store has from ``source``, if any.

        The row and the points are of this ``history``, and only its snapshots are used.

        Raises:
            StorageDamaged: a row fails its checksum, or points are missing.
        """
        self._row = row
        self._environment = environment
        self._builder = SegmentBuilder(
            row.kind, row.metric, width, environment.settings, should_stop
        )
        self.history = history
        self.snapshots = environment.snapshots(row, width, history)
        segments: list[Segment] = []
        self.points_from_store = 0
        """Points that no snapshot had, so that they were read from the store."""
        if source is not None:
            segments, self.points_from_store = _recover(source, row, self.snapshots, self._builder)
        self.index = SegmentIndex(
            width,
            seal_rows=environment.settings.delta_rows,
            seal=self._builder.seal,
            segments=segments,
            sequence=row.sequence,
        )

    def fetch(self, reader: Reader, pks: NDArray[np.int64]) -> Vectors:
        """Read the normalized vectors of distinct pks; zeros for a deleted point."""
        rows = np.zeros((len(pks), self._builder.width), np.float32)
        found, _, vectors = reader.vectors(self._row.id, pks, self._builder.width)
        rows[np.isin(pks, found[:, 0])] = normalize(self._builder.metric, vectors)
        return rows

    def merge_next(self, wait: Callable[[int], None]) -> bool:
        """Run the next merge that is due; return False if there is none.

        ``wait`` makes all writes up to a sequence number visible.

        Raises:
            Stopped: the merge was stopped; nothing changed.
        """
        state = self.index.state
        numbers = to_merge(state.segments, self._row.kind, self._environment.settings)
        return bool(numbers) and self.merge([state.segments[number] for number in numbers], wait)

    def save_next(self, recovery_s: float) -> bool:
        """Save one segment if a start would take longer than ``recovery_s``; else return False.

        Raises:
            OSError: the disk failed or is full.
        """
        state = self.index.state
        number = to_save(state.segments, recovery_s)
        if number is None:
            return False
        self.index.replace_saved(self.snapshots.save(state.segments[number]))
        self.snapshots.delete_unused(self.index.state.segments)
        return True

    def merge(self, sources: Sequence[Segment], wait: Callable[[int], None]) -> bool:
        """Replace segments by one; return False if they, or the rows, were replaced meanwhile."""
        merged = self._builder.merge(sources, partial(self.fetch, self._environment.reader))
        # The merge may have read vectors from the store that are not visible yet: wait until
        # they are, so that the merged segment is not newer than the state.
        with self._environment.reader.snapshot() as stored:
            row = stored.find_collection(str(self._row.name))
            if stored.history != self.history:
                return False
        if row is not None and row.id == self._row.id:
            wait(row.sequence)
        replaced = self.index.replace_merged(sources, merged)
        reach("merge.after_swap")
        return replaced


def _recover(
    reader: Reader, row: CollectionRow, snapshots: SnapshotFolder, builder: SegmentBuilder
) -> tuple[list[Segment], int]:
    """Return segments of exactly the stored points, and how many points no snapshot had.

    Raises:
        StorageDamaged: a row fails its checksum, or points are missing.
    """
    versions = reader.pairs(row.id)
    if len(versions) != row.count:
        problem = f"{len(versions)} of {row.count} points are there"
        raise StorageDamaged(reader.location, problem, UNNAMED)
    missing = np.ones(len(versions), np.bool_)
    segments = []
    for path, rows in snapshots.load(row.sequence):
        positions = np.flatnonzero(are_among(rows.pks, rows.seqs, versions[missing]))
        is_sorted = bool((np.diff(rows.pks) > 0).all())
        if not is_sorted or len(positions) < MIN_LIVE_SHARE * len(rows.pks):
            continue
        segment = snapshots.load_segment(path, rows)
        if segment is not None:
            missing[np.searchsorted(versions[:, 0], rows.pks[positions])] = False
            deleted = len(segment) - len(positions)
            live = pack_bits(positions, len(segment)) if deleted else None
            segments.append(replace(segment, live=live, deleted=deleted))
    left = versions[missing]
    if len(left):
        segments.append(_from_store(reader, row.id, left, builder))
    snapshots.delete_unused(segments)
    return segments, len(left)


def _from_store(
    reader: Reader, collection: int, versions: NDArray[np.int64], builder: SegmentBuilder
) -> Segment:
    """Return a flat segment, which builds fast; a later merge builds the collection's kind."""
    ids: list[str] = []

    def read(rows: NDArray[np.int64]) -> Vectors:
        found, block, vectors = reader.vectors(collection, versions[rows, 0], builder.width)
        if not np.array_equal(found, versions[rows]):
            raise StorageDamaged(reader.location, DISAGREE, UNNAMED)
        ids.extend(block)
        return normalize(builder.metric, vectors)

    pks, seqs = (np.ascontiguousarray(column) for column in versions.T)
    return builder.build_flat(pks, seqs, ids, read)

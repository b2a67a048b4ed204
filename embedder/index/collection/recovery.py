"""Loads the segments of a collection at the start, from snapshots and from stored rows.

A row of a snapshot is live if the store has the same version of the same point. Points that no
snapshot has are read from the store. So missing, old or damaged snapshots only cost time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import Segment, are_among, pack_bits
from embedder.index.segments.segment_builder import SegmentBuilder
from embedder.index.segments.snapshot_folder import SnapshotFolder
from embedder.index.storage.collection_rows import CollectionRow
from embedder.index.storage.reading import Reader
from embedder.index.storage.row_encoding import DISAGREE

MIN_LIVE_SHARE = 0.5
"""A snapshot with a smaller share of live rows is not loaded: its rows are read from the store."""


def recover(
    reader: Reader, row: CollectionRow, snapshots: SnapshotFolder, builder: SegmentBuilder
) -> tuple[list[Segment], int]:
    """Return segments of exactly the stored points, and how many points no snapshot had.

    Raises:
        StorageDamaged: a row fails its checksum, or points are missing.
    """
    versions = reader.pairs(row.id)
    if len(versions) != row.count:
        problem = f"{len(versions)} of {row.count} points are there"
        raise StorageDamaged(str(reader.path), problem, UNNAMED)
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
        segments.append(_from_store(reader, left, builder))
    snapshots.delete_unused(segments)
    return segments, len(left)


def _from_store(reader: Reader, versions: NDArray[np.int64], builder: SegmentBuilder) -> Segment:
    """Return a flat segment, which builds fast; a later merge builds the collection's kind."""
    ids: list[str] = []

    def read(rows: NDArray[np.int64]) -> Vectors:
        found, block, vectors = reader.vectors(versions[rows, 0], builder.width)
        if not np.array_equal(found, versions[rows]):
            raise StorageDamaged(str(reader.path), DISAGREE, UNNAMED)
        ids.extend(block)
        return normalize(builder.metric, vectors)

    pks, seqs = (np.ascontiguousarray(column) for column in versions.T)
    return builder.build_flat(pks, seqs, ids, read)

"""Brings a collection's projection up to date with the truth, from snapshots and from rows.

A snapshot's row is alive if the truth still has the same version of the same point; what no
snapshot has is read from the truth. So it does not matter which files are there, how old they are
or which of them are damaged: only how long it takes. Knows nothing of writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.segments.faiss_index import VectorSource, build
from embedder.index.segments.index_state import LiveSegment
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import PackedIds, Segment, pack
from embedder.index.segments.segment_builder import SegmentBuilder
from embedder.index.segments.snapshot_folder import SnapshotFolder
from embedder.index.storage.reading import Reader
from embedder.index.storage.rows import DISAGREE
from embedder.index.storage.writes import CollectionRow

LEAST_ALIVE = 0.5
"""A snapshot of which less is alive is not worth loading: its rows are read from the truth."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The segments of a collection; ``replayed`` rows of them were read from the truth."""

    segments: list[LiveSegment]
    replayed: int


def recover(
    reader: Reader, row: CollectionRow, snapshots: SnapshotFolder, builder: SegmentBuilder
) -> Recovered:
    """Return segments that hold exactly the points of the truth.

    Raises:
        StorageDamaged: a row fails its checksum, or points are missing.
    """
    pairs = reader.pairs(row.id)
    if len(pairs) != row.count:
        problem = f"{len(pairs)} of {row.count} points are there"
        raise StorageDamaged(str(reader.path), problem, UNNAMED)
    waiting = np.ones(len(pairs), np.bool_)
    segments = []
    for path, rows in snapshots.load(row.sequence):
        places, at = _same_versions(pairs, waiting, rows.pks, rows.seqs)
        if len(places) < LEAST_ALIVE * len(rows.pks):
            continue
        segment = snapshots.load_segment(path, rows)
        if segment is not None:
            waiting[places] = False
            segments.append(_alive(segment, at))
    left = pairs[waiting]
    if len(left):
        segments.append(LiveSegment(_from_truth(reader, left, builder)))
    snapshots.drop_spares([live.segment.path for live in segments if live.segment.path])
    return Recovered(segments, len(left))


def _same_versions(
    pairs: NDArray[np.int64],
    waiting: NDArray[np.bool_],
    pks: NDArray[np.int64],
    seqs: NDArray[np.int64],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of waiting pairs that a snapshot has, and where it has them."""
    if not len(pairs) or (np.diff(pks) <= 0).any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    places = np.minimum(np.searchsorted(pairs[:, 0], pks), len(pairs) - 1)
    same = (pairs[places, 0] == pks) & (pairs[places, 1] == seqs) & waiting[places]
    return places[same], np.flatnonzero(same)


def _alive(segment: Segment, at: NDArray[np.intp]) -> LiveSegment:
    dead = len(segment) - len(at)
    return LiveSegment(segment, pack(at, len(segment)) if dead else None, dead)


def _from_truth(reader: Reader, pairs: NDArray[np.int64], builder: SegmentBuilder) -> Segment:
    """Return a flat segment, which is quick to make; a merge indexes it as the collection wants."""
    names: list[str] = []

    def take(rows: NDArray[np.int64]) -> Vectors:
        found, block, vectors = reader.vectors(pairs[rows, 0], builder.width)
        if not np.array_equal(found, pairs[rows]):
            raise StorageDamaged(str(reader.path), DISAGREE, UNNAMED)
        names.extend(block)
        return normalize(builder.metric, vectors)

    source = VectorSource(len(pairs), builder.width, take)
    index = build(IndexKind.FLAT, builder.metric, source, builder.settings, _never)
    pks, seqs = (np.ascontiguousarray(column) for column in pairs.T)
    return builder.wrap(index, IndexKind.FLAT, pks, seqs, PackedIds.of(names))


def _never() -> bool:
    return False


def fetching(reader: Reader, builder: SegmentBuilder) -> Callable[[NDArray[np.int64]], Vectors]:
    """Return what reads placed vectors of pks from the truth: zeros for one that is gone."""

    def fetch(pks: NDArray[np.int64]) -> Vectors:
        rows = np.zeros((len(pks), builder.width), np.float32)
        found, _, vectors = reader.vectors(pks, builder.width)
        at = {pk: row for row, pk in enumerate(pks.tolist())}
        rows[[at[pk] for pk in found[:, 0].tolist()]] = normalize(builder.metric, vectors)
        return rows

    return fetch

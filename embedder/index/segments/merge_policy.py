"""Decides which segments to merge, as which kind to build them, and which to save.

Small segments are merged by tiers, as in a log-structured merge tree, so each row is copied only a
few times. A segment with many deleted rows is rewritten. Every merge builds its index from scratch,
so an inverted index is trained again before its rows have grown fourfold.

The kind ``auto`` builds an HNSW graph from a number of rows that is a setting, 50,000 by default:
at that size one query over clustered vectors of 384 components took 3 to 5 ms flat and 0.4 ms by a
graph on one thread, for 20 to 25 s of building; at 10,000 rows it took 0.5 and 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

from embedder.index.contract.kinds import IndexKind
from embedder.index.segments.segment import Segment
from embedder.settings.model import IndexSettings

FAN_OUT = 4
"""Segments of a tier that are merged; each tier holds this many times the rows of the one below."""

MIN_TRAINING_ROWS = {IndexKind.IVF_PQ: 256}
"""Rows below which FAISS cannot train: a product quantiser has this many codes a byte."""

REBUILT_PER_S = {
    IndexKind.FLAT: 80_000,
    IndexKind.HNSW: 2_000,
    IndexKind.IVF_FLAT: 10_000,
    IndexKind.IVF_SQ8: 10_000,
    IndexKind.IVF_PQ: 5_000,
}
"""Rows of 384 components that are read from the store and indexed again in a second, at least."""


def kind_of_segment(kind: IndexKind, rows: int, settings: IndexSettings) -> IndexKind:
    """Return the kind to build for a segment of ``rows`` rows in a collection of ``kind``."""
    if kind is IndexKind.AUTO:
        return IndexKind.HNSW if rows >= settings.auto_hnsw_rows else IndexKind.FLAT
    least = max(settings.min_indexed_rows, MIN_TRAINING_ROWS.get(kind, 0))
    return kind if rows >= least else IndexKind.FLAT


def to_merge(segments: Sequence[Segment], kind: IndexKind, settings: IndexSettings) -> list[int]:
    """Return the numbers of the segments to merge next, or an empty list."""
    for number, one in enumerate(segments):
        if one.deleted and one.deleted >= settings.max_deleted_share * len(one):
            return [number]
    tiers: dict[int, list[int]] = {}
    for number, one in enumerate(segments):
        tiers.setdefault(_tier(one.count, settings.delta_rows), []).append(number)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= FAN_OUT:
            # The whole tier: if merges fall behind, the next one is larger.
            return tiers[tier]
    return _to_index(segments, kind, settings)


def _to_index(segments: Sequence[Segment], kind: IndexKind, settings: IndexSettings) -> list[int]:
    """Return a flat segment, left by a start, that is large enough to be indexed."""
    for number, one in enumerate(segments):
        wanted = kind_of_segment(kind, one.count, settings)
        if one.kind is IndexKind.FLAT and wanted is not IndexKind.FLAT:
            return [number]
    return []


def to_save(segments: Sequence[Segment], recovery_s: float) -> int | None:
    """Return the number of the segment to save next, None if a start would be quick enough.

    Half of ``recovery_s`` is left for the delta and for loading the saved segments.
    """
    costs = {
        number: rebuild_s(one.kind, len(one))
        for number, one in enumerate(segments)
        if one.path is None
    }
    if sum(costs.values()) <= recovery_s / 2:
        return None
    return max(costs, key=costs.__getitem__)


def rebuild_s(kind: IndexKind, rows: int) -> float:
    """Return about how many seconds it takes to read rows from the store and index them again."""
    return rows / REBUILT_PER_S[kind]


def _tier(rows: int, smallest: int) -> int:
    tier, limit = 0, smallest * FAN_OUT
    while rows >= limit:
        tier, limit = tier + 1, limit * FAN_OUT
    return tier

"""When segments are merged, what they become, and when they are saved: pure functions.

Small segments are merged by tiers, as in a log-structured merge tree, so each row is copied a few
times in its life; those with many dead rows are rewritten. Since every merge builds its index
anew, an inverted index is trained again before its rows have grown fourfold. Knows nothing of
threads, files or FAISS.

The switch of ``auto`` to HNSW graphs is a setting, 50,000 rows: at that size one query over
clustered vectors of 384 components took 3 to 5 ms flat and 0.4 ms by a graph on one thread, for
20 to 25 s of building; at 10,000 it was 0.5 against 0.2 ms, which does not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.index.contract.kinds import IndexKind
from embedder.settings.model import IndexSettings

FAN_OUT = 4
"""Segments of a tier that are merged; each tier holds this many times the rows of the one below."""

LEAST_ROWS = {IndexKind.IVF_PQ: 256}
"""Rows without which FAISS cannot train: a product quantiser has this many codes a byte."""

REBUILT_PER_S = {
    IndexKind.FLAT: 80_000,
    IndexKind.HNSW: 2_000,
    IndexKind.IVF_FLAT: 10_000,
    IndexKind.IVF_SQ8: 10_000,
    IndexKind.IVF_PQ: 5_000,
}
"""Rows of 384 components that are read from the truth and indexed again in a second, at least."""


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What the policy looks at of a segment."""

    kind: IndexKind
    rows: int
    dead: int
    saved: bool


def kind_of_segment(kind: IndexKind, rows: int, settings: IndexSettings) -> IndexKind:
    """Return what a segment of so many rows is built as, in a collection of ``kind``."""
    if kind is IndexKind.AUTO:
        return IndexKind.HNSW if rows >= settings.auto_hnsw_rows else IndexKind.FLAT
    least = max(settings.min_indexed_rows, LEAST_ROWS.get(kind, 0))
    return kind if rows >= least else IndexKind.FLAT


def to_merge(
    segments: Sequence[SegmentFacts], kind: IndexKind, settings: IndexSettings
) -> list[int]:
    """Return which segments are merged next, by their places; none is an empty list."""
    dead = [
        place
        for place, one in enumerate(segments)
        if one.dead and one.dead >= settings.max_dead * one.rows
    ]
    if dead:
        return dead[:1]
    tiers: dict[int, list[int]] = {}
    for place, one in enumerate(segments):
        tiers.setdefault(_tier(one.rows - one.dead, settings.delta_rows), []).append(place)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= FAN_OUT:
            # All of them, however many have gathered: a merge that is slow makes the next larger.
            return tiers[tier]
    return _to_index(segments, kind, settings)


def needs_merging(
    segments: Sequence[SegmentFacts], kind: IndexKind, settings: IndexSettings
) -> bool:
    """Say whether these are anything else than one segment as it should be."""
    return (
        len(segments) > 1
        or any(one.dead for one in segments)
        or bool(_to_index(segments, kind, settings))
    )


def _to_index(
    segments: Sequence[SegmentFacts], kind: IndexKind, settings: IndexSettings
) -> list[int]:
    """Return a flat segment that is large enough to be indexed: a start leaves such behind."""
    for place, one in enumerate(segments):
        wanted = kind_of_segment(kind, one.rows - one.dead, settings)
        if one.kind is IndexKind.FLAT and wanted is not IndexKind.FLAT:
            return [place]
    return []


def to_save(segments: Sequence[SegmentFacts], recovery_s: float) -> int | None:
    """Return the segment that is saved next, or None while a start would be quick enough.

    Half of the time is for what is in no segment, and for loading those that are saved.
    """
    costs = {
        place: one.rows / REBUILT_PER_S[one.kind]
        for place, one in enumerate(segments)
        if not one.saved
    }
    if sum(costs.values()) <= recovery_s / 2:
        return None
    return max(costs, key=costs.__getitem__)


def _tier(rows: int, smallest: int) -> int:
    tier, limit = 0, smallest * FAN_OUT
    while rows >= limit:
        tier, limit = tier + 1, limit * FAN_OUT
    return tier

"""Decides whether a search asks the FAISS index for more candidates or compares all allowed rows.

The index returns the nearest vectors, allowed or not, and the search drops those that are not. If
as many as it wants are left, they are the nearest allowed ones, wherever the others lie. The first
attempt assumes that the share of allowed rows near the query is that of the segment, and each
following one the share that the previous one found, until an exact pass is cheaper.

Measured on one thread with 60,000 clustered vectors of 384 components, in microseconds:

search of a graph            3 a unit of efSearch (192 at 64, 842 at 256, 3,117 at 1,024)
exact pass over a graph      0.002 a row, and 0.087 an allowed one (128 at 0.1 %, 2,751 at 50 %)
search of inverted lists     0.075 a row that is read, 0.05 if it is quantised
exact pass over the lists    0.007 a row, and 0.08 an allowed one, 0.05 if it is quantised
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.pricing import EF_PER_CANDIDATE, GRAPH_STEP, READ_PER_CANDIDATE

SKIPPED_IN_GRAPH = 1 / 40
SKIPPED_IN_LISTS = 1 / 12
"""The cost of a row that an exact pass skips, in rows that it compares."""
SLACK = 2.0
"""Standard deviations of the number of allowed candidates that are fetched beyond its mean."""


@dataclass(slots=True)
class SegmentSizes:
    """What the cost of a search depends on.

    ``vectors`` are those in the index, ``allowed`` those that an exact pass compares. ``lists`` is
    0 for a graph. ``least`` is the efSearch or the number of lists of a search without a filter.
    """

    kind: IndexKind
    vectors: int
    allowed: int
    lists: int
    least: int


def candidates_to_fetch(sizes: SegmentSizes, wanted: int, share: float, previous: int = 0) -> int:
    """Return how many of the nearest vectors to ask for, 0 for an exact pass.

    ``share`` is the assumed share of allowed ones among them, of which ``wanted`` are needed.
    ``previous`` candidates held too few.
    """
    if sizes.kind is IndexKind.FLAT or wanted >= share * sizes.vectors:
        return 0
    # The number of allowed ones among n candidates has the mean n * share, and if that is `wanted`
    # the variance wanted * (1 - share).
    fetched = math.ceil((wanted + SLACK * math.sqrt(wanted * (1 - share))) / share)
    if previous:
        fetched = max(fetched, 2 * previous, _for_least(sizes))
    reads_all = fetched >= sizes.vectors or effort(sizes, fetched) == sizes.lists
    return 0 if reads_all or search_cost(sizes, fetched) >= exact_cost(sizes) else fetched


def effort(sizes: SegmentSizes, fetched: int) -> int:
    """Return the efSearch of a graph, or the number of lists to probe, for so many candidates."""
    if not sizes.lists:
        return max(sizes.least, EF_PER_CANDIDATE * fetched)
    needed = math.ceil(READ_PER_CANDIDATE * fetched * sizes.lists / sizes.vectors)
    return min(sizes.lists, max(sizes.least, needed))


def _for_least(sizes: SegmentSizes) -> int:
    """Return for how many candidates the least effort of a search is enough."""
    if not sizes.lists:
        return sizes.least // EF_PER_CANDIDATE
    return sizes.vectors * sizes.least // (sizes.lists * READ_PER_CANDIDATE)


def search_cost(sizes: SegmentSizes, fetched: int) -> float:
    """Return the cost of a search for candidates, in rows that an exact pass compares."""
    if not sizes.lists:
        return GRAPH_STEP * effort(sizes, fetched)
    return sizes.vectors * effort(sizes, fetched) / sizes.lists


def exact_cost(sizes: SegmentSizes) -> float:
    """Return the cost of an exact pass, in rows that it compares."""
    skipped = SKIPPED_IN_LISTS if sizes.lists else SKIPPED_IN_GRAPH
    return sizes.allowed + skipped * sizes.vectors

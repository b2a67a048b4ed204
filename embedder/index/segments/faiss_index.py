"""Builds FAISS indexes of the allowed kinds, block by block, so that it can be stopped.

Nothing of a client's reaches FAISS's factory strings: each kind is made by its own class. Knows
nothing of where rows come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import faiss_metric
from embedder.settings.model import IndexSettings

BLOCK_ROWS = 8192
"""Rows that are added at once; between two blocks a build can be stopped."""

LISTS_PER_ROOT = 4
"""An inverted index of n rows has this times √n lists."""
TRAINING_ROWS_PER_LIST = 40
"""FAISS warns below 39 and uses no more than 256."""
PQ_BITS = 8
PQ_COMPONENTS = 4
"""Components that one byte of a product code stands for, where the width allows it."""


class Stopped(Exception):
    """The build was given up since the index is closing."""


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Where the rows of a build come from: ``take`` returns placed rows by their numbers."""

    count: int
    width: int
    take: Callable[[NDArray[np.int64]], Vectors]


def build(
    kind: IndexKind,
    metric: Metric,
    source: VectorSource,
    settings: IndexSettings,
    should_stop: Callable[[], bool],
) -> Any:
    """Return an index of all rows of the source, in their order.

    Raises:
        Stopped: ``should_stop`` said so.
    """
    import faiss

    # For the calling thread only, as OpenMP has it.
    faiss.omp_set_num_threads(settings.build_threads)
    index = _empty(kind, metric, source, settings)
    if not index.is_trained:
        index.train(source.take(_sample(source.count, index.nlist)))
    for numbers in _blocks(source.count):
        if should_stop():
            raise Stopped
        index.add(source.take(numbers))
    if kind is IndexKind.IVF_FLAT:
        index.make_direct_map()  # without it a row cannot be read back by its position
    return index


def rows_of(index: Any, kind: IndexKind) -> Vectors | None:
    """Return a view of the vectors that an index keeps as they were given, or None."""
    import faiss

    if kind not in (IndexKind.FLAT, IndexKind.HNSW):
        return None
    flat = index if kind is IndexKind.FLAT else faiss.downcast_index(index.storage)
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    rows: Vectors = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return rows.reshape(flat.ntotal, flat.d)


def _empty(kind: IndexKind, metric: Metric, source: VectorSource, settings: IndexSettings) -> Any:
    import faiss

    width, measure = source.width, faiss_metric(metric)
    if kind is IndexKind.FLAT:
        return faiss.IndexFlat(width, measure)
    if kind is IndexKind.HNSW:
        graph = faiss.IndexHNSWFlat(width, settings.hnsw_links, measure)
        graph.hnsw.efConstruction = settings.hnsw_build_effort
        return graph
    coarse = faiss.IndexFlat(width, measure)
    lists = max(1, min(int(LISTS_PER_ROOT * source.count**0.5), source.count // 39))
    if kind is IndexKind.IVF_FLAT:
        index = faiss.IndexIVFFlat(coarse, width, lists, measure)
    elif kind is IndexKind.IVF_SQ8:
        bits = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(coarse, width, lists, bits, measure)
    elif kind is IndexKind.IVF_PQ:
        index = faiss.IndexIVFPQ(coarse, width, lists, _parts(width), PQ_BITS, measure)
        # A sample smaller than its warning asks for is our choice: small segments exist.
        index.pq.cp.min_points_per_centroid = 1
    else:
        raise ValueError(f"{kind} is no kind of a segment")
    index.cp.min_points_per_centroid = 1
    index.own_fields = True
    coarse.this.disown()
    return index


def _parts(width: int) -> int:
    """Return into how many bytes a product quantiser packs a row: a divisor of the width."""
    return max(parts for parts in range(1, -(-width // PQ_COMPONENTS) + 1) if width % parts == 0)


def _sample(count: int, lists: int) -> NDArray[np.int64]:
    wanted = max(TRAINING_ROWS_PER_LIST * lists, 39 * 2**PQ_BITS)
    if wanted >= count:
        return np.arange(count, dtype=np.int64)
    # The same rows give the same index: the seed is fixed.
    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, BLOCK_ROWS):
        yield np.arange(start, min(start + BLOCK_ROWS, count), dtype=np.int64)

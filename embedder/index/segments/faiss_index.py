"""Builds FAISS indexes of the allowed kinds, in blocks, so that a build can be stopped.

Each kind is made by its own class: no client text reaches FAISS's factory strings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import INVERTED, IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import faiss_metric
from embedder.index.segments.shared_nodes import NodeNumbering, SharedNodes
from embedder.settings.model import IndexSettings

BLOCK_ROWS = 8192
"""Rows added at once; a build can be stopped between two blocks."""

LISTS_PER_ROOT = 4
"""An inverted index of n rows has this times √n lists."""
MIN_ROWS_PER_LIST = 39
"""FAISS warns if it trains with fewer rows for each list or code."""
TRAINING_ROWS_PER_LIST = 40
"""FAISS uses at most 256."""
PQ_BITS = 8
PQ_COMPONENTS = 4
"""Components per byte of a product code, where the width allows it."""


class Stopped(Exception):
    """The build was stopped: the index is closing, or the collection was deleted or reloaded."""


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Where a build reads its ``count`` rows: ``read`` returns normalized rows by number."""

    count: int
    width: int
    read: Callable[[NDArray[np.int64]], Vectors]


def build(
    kind: IndexKind,
    metric: Metric,
    source: VectorSource,
    settings: IndexSettings,
    should_stop: Callable[[], bool],
) -> tuple[Any, SharedNodes | None]:
    """Return an index of the rows of the source, in their order, and the nodes that they share.

    A flat index has all rows, the other kinds each distinct row once.

    Raises:
        Stopped: ``should_stop`` returned True between two blocks.
    """
    import faiss

    # OpenMP keeps this number for the calling thread only.
    faiss.omp_set_num_threads(settings.build_threads)
    index = _trained(kind, metric, source, settings)
    numbering, of_row = NodeNumbering(), []
    for start in range(0, source.count, BLOCK_ROWS):
        if should_stop():
            raise Stopped
        end = min(start + BLOCK_ROWS, source.count)
        block = source.read(np.arange(start, end, dtype=np.int64))
        if kind is not IndexKind.FLAT:
            nodes, block = numbering.add(block)
            of_row.append(nodes)
        index.add(block)
    if kind is IndexKind.IVF_FLAT:
        index.make_direct_map()  # needed to read a row back by its position
    return index, SharedNodes.of(np.concatenate(of_row)) if of_row else None


def stored_vectors(index: Any, kind: IndexKind) -> Vectors | None:
    """Return a view of the vectors in an index, None if it does not keep them unchanged."""
    import faiss

    if kind not in (IndexKind.FLAT, IndexKind.HNSW):
        return None
    flat = index if kind is IndexKind.FLAT else faiss.downcast_index(index.storage)
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    rows: Vectors = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return rows.reshape(flat.ntotal, flat.d)


def _trained(kind: IndexKind, metric: Metric, source: VectorSource, settings: IndexSettings) -> Any:
    """Return an index without rows, trained if the kind is."""
    lists = int(LISTS_PER_ROOT * source.count**0.5)
    lists = max(1, min(lists, source.count // MIN_ROWS_PER_LIST))
    if kind not in INVERTED:
        return _empty(kind, metric, source.width, lists, settings)
    # Copies would draw lists to their vector, and the probes of a search near it to empty ones.
    _, training = NodeNumbering().add(source.read(_sample(source.count, lists)))
    lists = max(1, min(lists, len(training) // MIN_ROWS_PER_LIST))
    index = _empty(kind, metric, source.width, lists, settings)
    if len(training) < 2**PQ_BITS:
        training = np.resize(training, (2**PQ_BITS, source.width))
    index.train(training)
    return index


def _empty(kind: IndexKind, metric: Metric, width: int, lists: int, settings: IndexSettings) -> Any:
    import faiss

    measure = faiss_metric(metric)
    if kind is IndexKind.FLAT:
        return faiss.IndexFlat(width, measure)
    if kind is IndexKind.HNSW:
        graph = faiss.IndexHNSWFlat(width, settings.hnsw_m, measure)
        graph.hnsw.efConstruction = settings.hnsw_ef_construction
        return graph
    coarse = faiss.IndexFlat(width, measure)
    if kind is IndexKind.IVF_FLAT:
        index = faiss.IndexIVFFlat(coarse, width, lists, measure)
    elif kind is IndexKind.IVF_SQ8:
        bits = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(coarse, width, lists, bits, measure)
    elif kind is IndexKind.IVF_PQ:
        index = faiss.IndexIVFPQ(coarse, width, lists, _code_bytes(width), PQ_BITS, measure)
        # Small segments have fewer training rows than FAISS asks for: suppress its warning.
        index.pq.cp.min_points_per_centroid = 1
    else:
        raise ValueError(f"a segment cannot be of kind {kind}")
    index.cp.min_points_per_centroid = 1
    index.own_fields = True
    coarse.this.disown()
    return index


def _code_bytes(width: int) -> int:
    """Return the bytes of a product code of one row: a divisor of the width."""
    return max(size for size in range(1, -(-width // PQ_COMPONENTS) + 1) if width % size == 0)


def _sample(count: int, lists: int) -> NDArray[np.int64]:
    wanted = max(TRAINING_ROWS_PER_LIST * lists, MIN_ROWS_PER_LIST * 2**PQ_BITS)
    if wanted >= count:
        return np.arange(count, dtype=np.int64)
    # A fixed seed: the same rows give the same index.
    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))

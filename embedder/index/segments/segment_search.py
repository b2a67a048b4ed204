"""Searches one segment for the nearest of its allowed rows, by its FAISS index or exactly."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from embedder.core.types import Vectors
from embedder.index.contract.kinds import INVERTED, QUANTISED, IndexKind
from embedder.index.contract.pricing import PROBED
from embedder.index.segments.bitmap import Bitmap, are_set, pack_bits
from embedder.index.segments.code_search import Fetch, nearest_by_codes
from embedder.index.segments.scoring import Positions, Scores, from_faiss
from embedder.index.segments.search_policy import SegmentSizes, candidates_to_fetch, effort
from embedder.index.segments.segment import Segment
from embedder.settings.model import IndexSettings

_OF_THREAD = threading.local()


class SegmentSearch:
    """The searches of one segment for its allowed rows, ``count`` in number.

    ``allowed`` are positions of live rows; None stands for all of them. ``fetch`` reads their
    vectors from the store.
    """

    def __init__(
        self, segment: Segment, allowed: Positions | None, settings: IndexSettings, fetch: Fetch
    ) -> None:
        self.count = segment.count if allowed is None else len(allowed)
        self._segment, self._allowed = segment, allowed
        self._settings, self._fetch = settings, fetch
        self._bits: Bitmap | None = None
        if self.count < len(segment):
            self._bits = segment.live if allowed is None else pack_bits(allowed, len(segment))

    def nearest(self, queries: Vectors, k: int, wanted: int) -> tuple[Scores, Positions]:
        """Return approximate scores and positions, both [q, n], found rows first, then -1.

        ``n`` is ``wanted``, or ``count`` if that is smaller. Each query finds at least ``k`` rows,
        or all that are allowed.
        """
        wanted = min(wanted, self.count)
        if not wanted:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if self._bits is not None:
            return self._nearest_allowed(queries, min(k, wanted), wanted)
        scores, at = self._by_index(queries, wanted, wanted, effort(self._sizes(), min(k, wanted)))
        # FAISS puts found rows first. A graph may reach too few, and a few lists may hold too few.
        last = at[:, min(k, wanted) - 1]
        if min(last.tolist()) < 0:
            short = np.flatnonzero(last < 0)
            scores[short], at[short] = self._exactly(queries[short], wanted)
        return scores, at

    def _nearest_allowed(self, queries: Vectors, k: int, wanted: int) -> tuple[Scores, Positions]:
        scores = np.full((len(queries), wanted), -np.inf, np.float32)
        at = np.full((len(queries), wanted), -1, np.int64)
        left, share, fetched = np.arange(len(queries)), self.count / len(self._segment), 0
        sizes = self._sizes()
        while len(left) and (fetched := candidates_to_fetch(sizes, wanted, share, fetched)):
            steps = effort(sizes, fetched)
            scores[left], at[left] = self._by_index(queries[left], fetched, wanted, steps)
            left = left[at[left, -1] < 0]
            share = np.count_nonzero(at[left] >= 0) / max(1, len(left) * fetched)
        if len(left) and self._segment.kind in QUANTISED:
            scores[left], at[left] = nearest_by_codes(
                self._segment, queries[left], k, wanted, self._exactly, self._fetch
            )
        elif len(left):
            scores[left], at[left] = self._exactly(queries[left], wanted)
        return scores, at

    def _by_index(
        self, queries: Vectors, fetched: int, wanted: int, steps: int
    ) -> tuple[Scores, Positions]:
        """Return the allowed ones of the ``fetched`` nearest rows, [q, wanted], then -1.

        ``steps`` is the efSearch of a graph or the number of lists to probe.
        """
        import faiss

        params: Any = None
        if self._segment.kind is IndexKind.HNSW:
            params = _graph_params(steps)
        elif self._segment.kind in INVERTED:
            params = faiss.SearchParametersIVF(nprobe=steps)
        scores, nodes = self._call_faiss(self._segment.index, queries, fetched, params)
        return self._rows(scores, nodes, wanted)

    def _exactly(self, queries: Vectors, wanted: int) -> tuple[Scores, Positions]:
        """Compare the queries with all allowed rows; return the nearest, [q, n], then -1.

        ``n`` is ``wanted``, or ``count`` if that is smaller.
        """
        import faiss

        segment, bits, wanted = self._segment, self._bits, min(wanted, self.count)
        if segment.nodes is not None and bits is not None:
            allowed = self._allowed
            rows = np.flatnonzero(segment.live_mask()) if allowed is None else allowed
            bits = pack_bits(segment.nodes.of_row[rows], len(segment.nodes))
        selector = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        index, params = segment.index, faiss.SearchParameters(**selector)
        if segment.kind in INVERTED:
            params = faiss.SearchParametersIVF(nprobe=index.nlist, **selector)
        elif segment.kind is IndexKind.HNSW:
            index = faiss.downcast_index(index.storage)
        return self._rows(*self._call_faiss(index, queries, wanted, params), wanted)

    def _call_faiss(
        self, index: Any, queries: Vectors, k: int, params: Any
    ) -> tuple[Scores, Positions]:
        """Search with parameters of this thread's own: FAISS crashes if threads share them."""
        import faiss

        # OpenMP keeps this number for each calling thread, so every call sets it.
        faiss.omp_set_num_threads(self._settings.search_threads)
        measures, nodes = index.search(queries, k, params=params)
        return from_faiss(self._segment.metric, measures), nodes

    def _rows(self, scores: Scores, nodes: Positions, wanted: int) -> tuple[Scores, Positions]:
        """Return the first ``wanted`` allowed rows of nodes, which are nearest first."""
        bits, shared = self._bits, self._segment.nodes
        if shared is not None:
            return shared.expand(scores, nodes, wanted, bits)
        if bits is None:
            return scores, nodes
        missing = (nodes < 0) | ~are_set(bits, nodes)
        order = np.argsort(missing, axis=1, kind="stable")[:, :wanted]
        scores, nodes = np.take_along_axis(scores, order, 1), np.take_along_axis(nodes, order, 1)
        missing = np.take_along_axis(missing, order, 1)
        scores[missing], nodes[missing] = -np.inf, -1
        return scores, nodes

    def _sizes(self) -> SegmentSizes:
        segment, settings = self._segment, self._settings
        vectors = len(segment) if segment.nodes is None else len(segment.nodes)
        lists, least = 0, settings.hnsw_ef_search
        if segment.kind in INVERTED:
            lists = int(segment.index.nlist)
            least = min(settings.ivf_probes or max(1, lists // PROBED), lists)
        return SegmentSizes(segment.kind, vectors, min(self.count, vectors), lists, least)


def _graph_params(ef_search: int) -> Any:
    """Return the parameters of a search of a graph, made again where a thread has others.

    Making them takes as long as 3 % of a search.
    """
    import faiss

    known, params = getattr(_OF_THREAD, "graph", (0, None))
    if known != ef_search:
        params = faiss.SearchParametersHNSW(efSearch=ef_search)
        _OF_THREAD.graph = ef_search, params
    return params

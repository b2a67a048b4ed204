"""Make blocks of postings that are missing, in small steps between other writes.

These are the blocks of texts that an earlier version stored, those of sparse vectors in a restored
file, and all those of a collection of which one was damaged. No write waits for more than one step.
Where several processes have the same store, each of them takes steps; a step continues where the
last one of any process has ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context
from itertools import accumulate

from embedder.core.errors import EmbedderError
from embedder.core.storage_errors import StorageDamaged
from embedder.index.lexical.blocks import DamagedBlock
from embedder.index.lexical.text_index import ALL, TextTotals, extend
from embedder.index.sparse.sparse_index import index_some
from embedder.index.storage.protocol import Effect, Transaction, Write
from embedder.index.storage.records import OutdatedPoint

STEP_POINTS = 256
STEP_CHARACTERS = 2**20
"""The most texts and about the most characters that one step indexes."""

CLEARED_ROWS = 4096
"""Rows of an earlier index that one step deletes."""

NO_COLLECTION = 0
"""The number of no collection, of which no point can have a copy."""

logger = logging.getLogger(__name__)


class PostingIndexing:
    """Runs the steps of one store until none is left; ``submit`` queues a write of the store."""

    def __init__(self, submit: Callable[[Write[bool]], Future[bool]]) -> None:
        self._submit = submit
        self._lock = threading.Lock()
        self._is_running = False

    def start(self) -> None:
        """Begin, unless it runs; returns at once."""
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        # Outside of the caller's context, which may be cancelled.
        Context().run(self._next)

    def _next(self) -> None:
        try:
            self._submit(_step).add_done_callback(self._continue)
        except EmbedderError:  # the store is closed or refuses writes
            self._is_running = False

    def _continue(self, done: Future[bool]) -> None:
        error = done.exception()
        if error is None and done.result():
            self._next()
            return
        self._is_running = False
        if error is not None:
            logger.warning("postings are not made, until a search tries again: %r", error)


def _step(rows: Transaction) -> Effect[bool]:
    """Index some rows of one collection; the result is False if none has any left."""
    try:
        named = rows.collections()
    except StorageDamaged:
        return lambda: False  # reported by every read
    for found in named:
        for has_work, index in _KINDS:
            if not has_work(rows, found.id):
                continue
            # Where other processes write too, this locks the collection. The others are not
            # locked: their writes would wait for this step, and this step for theirs.
            row = rows.find_collection(str(found.name))
            if row is None:
                continue
            try:
                index(rows, row.id)
            except StorageDamaged as error:
                # Found before anything was changed; the other rows are indexed.
                logger.warning("rows of %r are not indexed: %r", row.name, error)
            else:
                return lambda: True
    return lambda: False


def _has_texts(rows: Transaction, collection: int) -> bool:
    totals = rows.texts.totals(collection)
    return totals is None or totals.indexed < ALL


def _index_texts(rows: Transaction, collection: int) -> None:
    totals = rows.texts.totals(collection)
    if totals is None:
        if not rows.texts.clear(collection, CLEARED_ROWS):
            rows.texts.put_totals(TextTotals(collection, indexed=0))
        return
    try:
        points = _first(rows.outdated(collection, NO_COLLECTION, totals.indexed))
        extend(rows.texts, totals, [(point.pk, point.text) for point in points])
    except DamagedBlock:
        rows.texts.forget(collection)


def _has_sparse(rows: Transaction, collection: int) -> bool:
    totals = rows.sparse.totals(collection)
    return totals is not None and totals.indexed < ALL


def _index_sparse(rows: Transaction, collection: int) -> None:
    totals = rows.sparse.totals(collection)
    if totals is not None and totals.indexed < ALL:
        index_some(rows.sparse, totals)


_KINDS = ((_has_texts, _index_texts), (_has_sparse, _index_sparse))
"""For each kind of postings, what says that some are missing, and what makes them."""


def _first(points: Sequence[OutdatedPoint]) -> Sequence[OutdatedPoint]:
    """Return the points of one step, at least one if there are any."""
    sizes = list(accumulate(len(point.text) for point in points[:STEP_POINTS]))
    within = sum(size <= STEP_CHARACTERS for size in sizes)
    return points[: max(1, within)]

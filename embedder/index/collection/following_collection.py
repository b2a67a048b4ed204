"""An open collection that other processes write too: it follows the log of changes.

An own write is applied directly if it is the next one. Otherwise the log tells it, with the writes
of other processes before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from embedder.index.collection.collection_segments import Environment
from embedder.index.collection.log_pages import read_pages
from embedder.index.collection.naming_damage import naming
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.segments.faiss_index import Stopped
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.change_log import ChangeLog, Changes, PinnedReader
from embedder.index.storage.records import CollectionRow


class FollowingCollection(OpenCollection):
    """Named points of a shared store."""

    def __init__(self, row: CollectionRow, environment: Environment, log: ChangeLog) -> None:
        """Open a collection and load its points; see `OpenCollection`."""
        self._log = log
        super().__init__(row, environment)

    def apply(self, write: Changes) -> None:
        """Make an own committed write visible, or leave it to the log."""
        with self._applying:
            if write.sequence == self.sequence + 1 and self._is_of(write.history):
                self._apply([write], write.vectors.shape[1])

    def wait(self, sequence: int) -> None:
        """Read the log until the write of this number is visible.

        Raises:
            UnknownCollection: the collection was deleted.
            StageUnavailable: the log cannot be read.
            StorageDamaged: a row that the log names fails its checksum.
        """
        while not self._follow(sequence):
            self.reload()

    @contextmanager
    def pinned(self) -> Iterator[tuple[PinnedReader, IndexState | None]]:
        """Yield a reader of one moment, and the state of exactly this moment.

        The moment is after all writes committed before this call. Otherwise as `wait`.
        """
        while True:
            with ExitStack() as stack:
                with self._applying:
                    # Begun under the lock, so that no state is newer than the moment.
                    reader = stack.enter_context(self._log.pinned())
                    is_reached, state = self._catch_up(reader), self.state
                if is_reached:
                    yield reader, state
                    return
            self.reload()

    def _show(self, sequence: int) -> None:
        if not self._follow(sequence):
            raise Stopped  # not `reload`, which waits for the merge; the next search does that

    def _follow(self, sequence: int) -> bool:
        """Apply the log if the write of this number is not visible; see `_catch_up`."""
        if self.sequence >= sequence:
            return True
        with self._applying:
            # Another thread may have read the log while this one waited.
            if self.sequence >= sequence:
                return True
            with self._log.pinned() as reader:
                return self._catch_up(reader)

    def _catch_up(self, reader: PinnedReader) -> bool:
        """Apply all writes that the reader sees; return False if the log cannot tell them."""
        with reader.snapshot() as stored:
            if not self._is_of(stored.history):
                return False
        row = self._row_in(reader)
        self.record(row)
        with naming(self.name):
            pages = read_pages(reader, row, self.sequence)
        if pages:
            self._apply(pages, row.width or 0)
        return pages is not None

    def _is_of(self, history: str) -> bool:
        return self.segments_of(history) is not None

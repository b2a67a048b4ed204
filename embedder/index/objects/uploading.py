"""Uploads the snapshots of a shard, and removes those that it no longer uses.

One replica of a shard uploads. Objects have the names of their contents and never change, so two
that both believe to be the one harm nothing: an object is removed after `GRACE_S` in which the same
replica uploads and does not use it, hence never one that another has just written. A replica that
downloads has that long as well.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.core.errors import EmbedderError
from embedder.index.objects.object_name import ObjectName, digest_of
from embedder.index.objects.object_store import ObjectStore, ObjectStoreFailed
from embedder.index.segments.merge_policy import to_save
from embedder.index.segments.segment import Segment

INTERVAL_S = 10.0
"""Seconds between two looks at the segments, which take no request if nothing was saved."""

LIST_S = 600.0
"""Seconds after which the objects are listed again, in case that some are lost."""

GRACE_S = 3600.0
"""Seconds that an unused object stays."""

CLOSE_S = 5.0
"""Seconds that `close` waits for a running upload."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardState:
    """What an upload needs of a shard.

    ``leads`` tells whether this replica is the one that uploads, and ``history`` is `Store.history`
    now. ``segments`` are those of each open collection by UUID, none if its rows are of another
    history than the given one. ``known`` are the UUIDs of all collections that are stored.
    """

    leads: Callable[[], bool]
    history: Callable[[], str]
    segments: Callable[[str], dict[str, Sequence[Segment]]]
    known: Callable[[], Collection[str]]
    recovery_s: float


class Uploads:
    """Keeps the objects of a shard equal to its snapshots, once or in a thread of its own.

    The thread is not that of maintenance, because merges must not wait for a slow object store.
    """

    def __init__(
        self, store: ObjectStore, shard: ShardState, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._shard = shard
        self._clock = clock
        self._names: dict[tuple[str, int, int, int], ObjectName] = {}
        self._done: Collection[ObjectName] = ()
        self._list_at = -math.inf
        self._unused: dict[ObjectName, float] = {}
        self._running = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="index-uploads", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Start no other upload, and wait for the running one, `CLOSE_S` at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def run(self) -> None:
        """Upload all saved segments, then remove the objects that are unused for `GRACE_S`.

        Raises:
            ObjectStoreFailed: the object store does not answer; the next run does the rest.
            EmbedderError: the store of the index does not answer.
        """
        with self._running:
            self._run(self._clock())

    def attempt(self) -> None:
        """Run as `run`, and leave what fails to the next time."""
        try:
            self.run()
        except (ObjectStoreFailed, EmbedderError):
            pass  # reported where it occurred
        except Exception:
            logger.exception("snapshots could not be uploaded; trying again")

    def _run(self, now: float) -> None:
        if not self._shard.leads():
            self._list_at, self._unused = -math.inf, {}
            return
        history = self._shard.history()
        segments = self._shard.segments(history)
        wanted = self._wanted(segments, digest_of(history))
        if wanted.keys() == self._done and now < self._list_at:
            return
        stored = {
            name: size
            for text, size in self._store.find().items()
            if (name := ObjectName.parse(text)) is not None
        }
        for name, path in wanted.items():
            if self._stop.is_set():
                return
            if stored.get(name) != name.size:
                self._store.put(path, str(name))
        self._unused = {name: self._unused.get(name, now) for name in stored.keys() - wanted}
        self._remove_unused(now, segments)
        self._done, self._list_at = wanted.keys(), now + LIST_S

    def _wanted(
        self, segments: dict[str, Sequence[Segment]], history: str
    ) -> dict[ObjectName, Path]:
        """Return the name and the file of each saved segment; new files are read."""
        wanted, known = {}, {}
        for collection, some in segments.items():
            for path, sequence in _files(some):
                try:
                    stat = path.stat()
                    # A number of a snapshot may return after a restart, so the path is not enough.
                    key = (history, stat.st_ino, stat.st_mtime_ns, stat.st_size)
                    name = self._names.get(key) or ObjectName.of(
                        path, collection, history, sequence
                    )
                except FileNotFoundError:  # the segment was merged meanwhile
                    continue
                known[key] = name
                wanted[name] = path
        self._names = known
        return wanted

    def _remove_unused(self, now: float, segments: dict[str, Sequence[Segment]]) -> None:
        """Remove the objects whose time is over.

        Those of a collection that is not saved well enough stay: it has no others.
        """
        due = [name for name, since in self._unused.items() if now - since >= GRACE_S]
        known = self._shard.known() if due else ()
        for name in due:
            some = segments.get(name.collection)
            is_saved = some is not None and to_save(some, self._shard.recovery_s) is None
            if is_saved or name.collection not in known:
                self._store.remove(str(name))

    def _repeat(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.attempt()


def _files(segments: Iterable[Segment]) -> list[tuple[Path, int]]:
    return [(one.path, int(one.seqs.max())) for one in segments if one.path is not None]

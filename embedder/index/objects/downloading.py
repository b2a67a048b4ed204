"""Downloads the snapshots that a collection lacks on this node, before it is opened.

Nothing here fails a start: what is missing, damaged or slow is read from the store of the index.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.core.private_files import create, make_folder
from embedder.index.objects.object_name import ObjectName, digest_of
from embedder.index.objects.object_store import ObjectStore, ObjectStoreFailed
from embedder.index.segments.merge_policy import kind_of_segment, rebuild_s
from embedder.index.segments.snapshot_folder import MIN_LIVE_SHARE, SnapshotFolder
from embedder.index.segments.snapshot_format import HEADER_BYTES, BadSnapshot, Header, read_header
from embedder.index.storage.records import CollectionRow
from embedder.settings.model import IndexSettings

PATIENCE_S = 10.0
"""Seconds that a download may take, or those of reading the points instead, if they are more."""

logger = logging.getLogger(__name__)


class Downloads:
    """Fills the snapshot folders of a shard with objects of one history; one thread at a time."""

    def __init__(self, store: ObjectStore, history: str, settings: IndexSettings) -> None:
        self._store = store
        self._history = digest_of(history)
        self._settings = settings
        self._gave_up = False
        self.damaged = 0
        """Objects that were not used, and local snapshots that were set aside."""

    def fill(self, row: CollectionRow, folder: SnapshotFolder) -> None:
        """Download the snapshots of a collection if reading the missing points would take long.

        After a failure, none of the other collections waits for the object store.
        """
        held = [rows.pks for _, rows in folder.load(row.sequence)]
        self.damaged += folder.damaged
        missing = row.count - sum(map(len, held))
        seconds = rebuild_s(kind_of_segment(row.kind, missing, self._settings), missing)
        if self._gave_up or seconds <= self._settings.recovery_s / 2:
            return
        files: list[Path] = []
        # A thread, because a driver may wait for minutes. It is left alone after the time is over:
        # the next start deletes its files.
        thread = threading.Thread(
            target=self._download, args=(folder, held, files), name="index-download", daemon=True
        )
        thread.start()
        thread.join(max(PATIENCE_S, seconds))
        if thread.is_alive():
            self._gave_up = True
            logger.warning("snapshots of %s are not downloaded: it takes too long", row.name)
        done = files.copy()
        try:
            folder.adopt(done)
            logger.info("%d snapshots of %s are downloaded", len(done), row.name)
        except OSError as error:
            logger.warning("%s is not used: %s", folder.directory, error)

    def _download(
        self, folder: SnapshotFolder, held: Sequence[NDArray[np.int64]], files: list[Path]
    ) -> None:
        try:
            make_folder(folder.directory)
            headers = self._headers(folder)
            ends = [HEADER_BYTES + 8 * header.count for header in headers.values()]
            columns = self._read(list(headers), [HEADER_BYTES] * len(headers), ends)
            pks = {name: np.frombuffer(column, np.int64) for name, column in columns.items()}
            for name in choose(pks, held):
                if (file := self._fetch(name, folder.directory)) is not None:
                    files.append(file)  # noqa: PERF401 - the caller may stop waiting
        except ObjectStoreFailed:
            self._gave_up = True
        except OSError as error:
            logger.warning("snapshots cannot be downloaded to %s: %s", folder.directory, error)

    def _headers(self, folder: SnapshotFolder) -> dict[ObjectName, Header]:
        """Return the complete objects of a collection with their headers."""
        names = []
        for text, size in self._store.find(folder.identity.collection).items():
            name = ObjectName.parse(text)
            if name is None or name.history != self._history:
                continue
            if name.size == size:
                names.append(name)
            else:
                self._reject(name, f"has {size} bytes")
        headers = {}
        blocks = self._read(names, [0] * len(names), [HEADER_BYTES] * len(names))
        for name, block in blocks.items():
            try:
                headers[name] = read_header(block, name.size, folder.identity)
            except BadSnapshot as error:
                self._remove_damaged(name, str(error))
        return headers

    def _read(
        self, names: Sequence[ObjectName], starts: Sequence[int], ends: Sequence[int]
    ) -> dict[ObjectName, bytes]:
        blocks = self._store.read(list(map(str, names)), starts, ends)
        return {
            name: block
            for name, block, start, end in zip(names, blocks, starts, ends, strict=True)
            if block is not None and len(block) == end - start
        }

    def _fetch(self, name: ObjectName, directory: Path) -> Path | None:
        """Download an object to a temporary file; None if it is damaged, or missing by now."""
        path = directory / f"{name.digest}.tmp"
        digest = hashlib.sha256()
        with create(path) as file:
            for block in self._store.blocks(str(name), name.size):
                digest.update(block)
                file.write(block)
            size = file.tell()
        if (size, digest.hexdigest()) == (name.size, name.digest):
            return path
        path.unlink(missing_ok=True)
        if size == name.size:
            self._remove_damaged(name, "fails its checksum")
        return None

    def _remove_damaged(self, name: ObjectName, problem: str) -> None:
        """Remove an object, so that the replica that uploads stores it again if it is in use."""
        self._reject(name, problem)
        self._store.remove(str(name))

    def _reject(self, name: ObjectName, problem: str) -> None:
        self.damaged += 1
        logger.warning("the object %s %s, and is not used", name, problem)


def choose(
    candidates: dict[ObjectName, NDArray[np.int64]], held: Sequence[NDArray[np.int64]]
) -> list[ObjectName]:
    """Return the objects to download, the newest first, given the distinct pks of each.

    An object of which newer ones and the ``held`` pks have more than half would not be loaded.
    """
    chosen = []
    covered = np.concatenate([np.empty(0, np.int64), *held])
    for name in sorted(candidates, key=lambda one: (one.sequence, one.size), reverse=True):
        pks = candidates[name]
        new = pks[~np.isin(pks, covered)]
        if len(new) >= MIN_LIVE_SHARE * len(pks):
            chosen.append(name)
            covered = np.concatenate([covered, new])
    return chosen

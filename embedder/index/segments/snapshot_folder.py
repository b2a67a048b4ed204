"""The folder of one collection's snapshots: files appear whole or not at all, damage is set aside.

A snapshot that no segment needs stays until another one has been saved after it, so that an older
one is always left to fall back to.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from embedder.core.private_files import make_folder, sync
from embedder.index.contract.kinds import IndexKind
from embedder.index.segments.segment import Segment
from embedder.index.segments.shared_nodes import has_copies
from embedder.index.segments.snapshot_format import (
    BadSnapshot,
    SnapshotIdentity,
    SnapshotRows,
    read_rows,
    read_segment,
    write_segment,
)
from embedder.index.storage.disk.atomic_files import write_atomically
from embedder.index.storage.failpoints import reach

MIN_LIVE_SHARE = 0.5
"""A snapshot with a smaller share of live rows is not loaded: its rows are read from the store."""

_FILE = re.compile(r"segment-(\d{10})\.snap\Z")

logger = logging.getLogger(__name__)


class SnapshotFolder:
    """Saves and loads the segments of one collection; only one thread at a time may save."""

    def __init__(self, directory: Path, identity: SnapshotIdentity) -> None:
        self.directory = directory
        self.identity = identity
        self._unused: set[Path] = set()
        self._last = max((_number(path) for path in directory.glob("*")), default=0)
        self.damaged = 0
        """Files set aside since the start."""

    def save(self, segment: Segment) -> Segment:
        """Write a segment durably, and return it with the path of its file.

        Raises:
            OSError: the disk failed or is full; nothing of the file is left.
        """
        make_folder(self.directory)
        sync(self.directory.parent)
        path = self._next_path()
        write_atomically(path, lambda file: write_segment(file, segment, self.identity))
        reach("snapshot.after_publish")
        return replace(segment, path=path)

    def adopt(self, files: Sequence[Path]) -> None:
        """Make snapshots of complete files in the directory, the newest first.

        A start waits for this, and `load` finds what a lost machine had not written: no flush.

        Raises:
            OSError: the disk failed.
        """
        for file in reversed(files):
            file.replace(self._next_path())

    def delete_unused(self, segments: Iterable[Segment]) -> None:
        """Delete the files that no segment used at this call nor at the previous one."""
        used = {one.path for one in segments}
        unused = {path for path in self._files() if path not in used}
        for path in unused & self._unused:
            path.unlink(missing_ok=True)
        self._unused = unused - self._unused

    def load(self, last_sequence: int) -> Iterator[tuple[Path, SnapshotRows]]:
        """Yield the first part of every sound file, the newest first; set the others aside.

        ``last_sequence`` is the collection's own: a newer file was saved before the store was
        replaced by an older one, and is not used.
        """
        for path in self._files():
            try:
                rows = read_rows(path, self.identity)
                if rows.header.sequence > last_sequence:
                    raise BadSnapshot("is newer than the store")
            except (BadSnapshot, OSError) as error:
                self._set_aside(path, error)
            else:
                yield path, rows

    def load_segment(self, path: Path, rows: SnapshotRows) -> Segment | None:
        """Return the segment of a file; None if it is damaged, which sets it aside, or outdated.

        A graph of format 1 is outdated if it has a node for each copy of a vector.
        """
        try:
            segment = read_segment(path, rows)
        except (BadSnapshot, OSError) as error:
            self._set_aside(path, error)
            return None
        vectors = segment.node_vectors if segment.kind is IndexKind.HNSW else None
        if rows.header.format == 1 and vectors is not None and has_copies(vectors):
            logger.info("snapshot %s has a node for each copy of a vector: not used", path)
            return None
        return segment

    def remove(self) -> None:
        """Delete the directory with all files."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Return the snapshot files, the newest first."""
        found = [path for path in self.directory.glob("*") if _number(path)]
        return sorted(found, key=_number, reverse=True)

    def _next_path(self) -> Path:
        self._last += 1
        return self.directory / f"segment-{self._last:010d}.snap"

    def _set_aside(self, path: Path, error: Exception) -> None:
        self.damaged += 1
        logger.warning("snapshot %s is not used and set aside: %s", path, error)
        path.replace(path.with_name(path.name + ".damaged"))


def remove_orphans(folder: Path, known: Collection[str]) -> None:
    """Delete the snapshot folders of a shard whose collections are not ``known`` by UUID."""
    for path in folder.glob("*"):
        if path.name.partition("-")[0] not in known:
            shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what interrupted saves have left in the snapshot folders of a shard."""
    for leftover in folder.glob("*/*.tmp"):
        leftover.unlink()


def remove_other_histories(directory: Path, collection: str) -> None:
    """Delete the snapshot folders of a collection, by UUID, except this one."""
    for path in directory.parent.glob(f"{collection}*"):
        if path != directory:
            logger.warning("%s has snapshots of another history of the rows: deleted", path)
            shutil.rmtree(path, ignore_errors=True)


def _number(path: Path) -> int:
    found = _FILE.match(path.name)
    return int(found[1]) if found else 0

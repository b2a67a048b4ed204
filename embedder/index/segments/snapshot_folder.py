"""The directory of one collection's segment files: saved whole or not at all, damage set aside.

A file that no segment of the collection needs any more stays until another has been saved after
it, so there is always an older one to fall back to. Knows nothing of when a segment is saved.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from embedder.core.private_files import make_folder
from embedder.index.segments.segment import Segment
from embedder.index.segments.snapshot_format import (
    BadSnapshot,
    Rows,
    SnapshotIdentity,
    read_rows,
    read_segment,
    write_segment,
)
from embedder.index.storage.disk import publish, sync_directory
from embedder.index.storage.failpoints import reach

_FILE = re.compile(r"segment-(\d{10})\.snap\Z")

logger = logging.getLogger(__name__)


class SnapshotFolder:
    """Saves and loads the segments of one collection; one thread at a time saves."""

    def __init__(self, directory: Path, identity: SnapshotIdentity) -> None:
        self.directory = directory
        self._identity = identity
        self._spare: set[Path] = set()
        self._last = max((_number(path) for path in directory.glob("*")), default=0)
        self.damaged = 0
        """Files that were set aside since the start."""
        for leftover in directory.glob("*.tmp"):
            leftover.unlink()

    def files(self) -> list[Path]:
        """Return the files of segments, the newest first."""
        found = [path for path in self.directory.glob("*") if _number(path)]
        return sorted(found, key=_number, reverse=True)

    def save(self, segment: Segment) -> Segment:
        """Write a segment and return it with its file, durable when this returns.

        Raises:
            OSError: the disk refused; nothing of the file is left.
        """
        self._last += 1
        make_folder(self.directory)
        sync_directory(self.directory.parent)
        path = self.directory / f"segment-{self._last:010d}.snap"
        publish(path, lambda file: write_segment(file, segment, self._identity))
        reach("snapshot.after_publish")
        return replace(segment, path=path)

    def drop_spares(self, needed: Collection[Path]) -> None:
        """Delete the files that were not needed at the last call either."""
        spare = {path for path in self.files() if path not in needed}
        for path in spare & self._spare:
            path.unlink(missing_ok=True)
        self._spare = spare - self._spare

    def load(self, last_sequence: int) -> Iterator[tuple[Path, Rows]]:
        """Give the first part of every sound file, the newest first; others are set aside.

        ``last_sequence`` is the collection's own: a file from its future is not its file.
        """
        for path in self.files():
            try:
                rows = read_rows(path, self._identity)
                if rows.header.sequence > last_sequence:
                    raise BadSnapshot("has points that the truth has not")
            except (BadSnapshot, OSError) as error:
                self._set_aside(path, error)
            else:
                yield path, rows

    def load_segment(self, path: Path, rows: Rows) -> Segment | None:
        """Return the segment of a file, or None where it is damaged and was set aside."""
        try:
            return read_segment(path, rows)
        except (BadSnapshot, OSError) as error:
            self._set_aside(path, error)
            return None

    def remove(self) -> None:
        """Delete the directory with all files."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _set_aside(self, path: Path, error: Exception) -> None:
        self.damaged += 1
        logger.warning("snapshot %s is not used and set aside: %s", path, error)
        path.replace(path.with_name(path.name + ".damaged"))


def remove_orphans(folder: Path, known: Collection[str]) -> None:
    """Delete the files of all collections of a shard but those with the ``known`` identities."""
    for path in folder.glob("*"):
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)


def _number(path: Path) -> int:
    found = _FILE.match(path.name)
    return int(found[1]) if found else 0

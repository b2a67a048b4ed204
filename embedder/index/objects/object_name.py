"""The name of a snapshot in an object store says what it holds, so that no part passes for it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{32})/([0-9a-f]{16})-(\d{20})-(\d{1,15})-([0-9a-f]{64})\.snap")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """A snapshot of a collection, by UUID: its newest sequence number, size and SHA-256.

    ``history`` is a digest of `Store.history`: in another one, the same numbers may stand for other
    rows. An object of another size is incomplete. A later name replaces an earlier one that has the
    same rows, because a merge keeps the newest row and is larger than the others that have it.
    """

    collection: str
    history: str
    sequence: int
    size: int
    digest: str

    @classmethod
    def parse(cls, name: str) -> ObjectName | None:
        """Return the parsed name, or None if the object is not a snapshot."""
        found = _NAME.fullmatch(name)
        return found and cls(found[1], found[2], int(found[3]), int(found[4]), found[5])

    @classmethod
    def of(cls, path: Path, collection: str, history: str, sequence: int) -> ObjectName:
        """Return the name of a local snapshot, which is read.

        Raises:
            OSError: the file cannot be read.
        """
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
            return cls(collection, history, sequence, file.tell(), digest.hexdigest())

    def __str__(self) -> str:
        version = f"{self.history}-{self.sequence:020d}-{self.size}-{self.digest}"
        return f"{self.collection}/{version}.snap"


def digest_of(history: str) -> str:
    """Return the part of names that stands for a history."""
    return hashlib.sha256(history.encode()).hexdigest()[:16]

"""Files and folders that only their owner may read: texts, and vectors from which texts follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; one that is there stays as it is.

    Raises:
        OSError: it cannot be made, or is no folder.
    """
    # Path.mkdir gives its mode to the last folder alone.
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        missing.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)
    path.mkdir(exist_ok=True)


def create(path: Path, *, exclusive: bool = False) -> BinaryIO:
    """Open a new file for writing; an old one of the name is emptied, or refused.

    Raises:
        OSError: it cannot be made, or is there and ``exclusive`` is set.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, OWNER_ONLY), "w+b")

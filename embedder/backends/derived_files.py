"""Files made from those of a model: each made once, verified on every use, whole or not there.

What one process writes, another never sees half of. Knows nothing of graphs and weights.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder.core.errors import ConfigurationError
from embedder.models.safety import sha256

_DIGESTS = "sha256.json"

Make = Callable[[Path], None]
"""Writes a file of the name that was asked for, and others beside it, into an empty folder."""


def cache_folder(stated: str | None, kind: str) -> Path:
    """Return the folder that is stated, else that of a kind of files in the user's cache."""
    return Path(stated).expanduser() if stated else _users_cache() / "embedder" / kind


def _users_cache() -> Path:
    stated = os.environ.get("XDG_CACHE_HOME", "")
    cache = stated if os.path.isabs(stated) else os.path.expanduser("~/.cache")
    return Path(cache)


def kept(folder: Path, key: str, name: str, make: Make) -> Path:
    """Return the path of the file ``name`` of a key, making it where it is missing or damaged.

    Of those that want the same key at once, one makes it and the others wait.

    Raises:
        ConfigurationError: the folder cannot be written to.
    """
    target = folder / key
    if _is_intact(target, name):
        return target / name
    try:
        with _locked(folder, key):
            if not _is_intact(target, name):
                _replace(target, make)
    except OSError as error:
        raise ConfigurationError(
            f"{name} cannot be kept in {folder}: {error}; set backend.cache_dir to a folder that "
            "can be written to"
        ) from error
    return target / name


def discard(path: Path) -> None:
    """Remove what is kept under the key of a path, which turned out to be of no use."""
    with _locked(path.parent.parent, path.parent.name):
        shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    """Let in one thread of one process at a time; a process that dies opens the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(target: Path, make: Make) -> None:
    prefix = f"{target.name}.writing-"
    for abandoned in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        make(staging)
        _seal(staging)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _sync(target.parent)


def _seal(folder: Path) -> None:
    """Write a folder down to the disk, with the digests of what is in it."""
    (folder / _DIGESTS).write_text(json.dumps(_digests(folder)))
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _is_intact(folder: Path, name: str) -> bool:
    try:
        stated = json.loads((folder / _DIGESTS).read_bytes())
        found = _digests(folder)
        return name in found and bool(stated == found)
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir() if path.name != _DIGESTS}


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

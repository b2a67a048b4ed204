"""A cache of files derived from a model's files: created once, verified by digest on every use.

A file appears under its name only when it is complete, so no process reads a partial one.
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
from embedder.core.private_files import sync
from embedder.models.safety import sha256

_DIGESTS = "sha256.json"

Create = Callable[[Path], None]
"""Writes the requested file, and others that belong to it, into an empty folder."""


def cache_folder(configured: str | None, kind: str) -> Path:
    """Return the configured folder, or that for a kind of files in the user's cache folder."""
    return Path(configured).expanduser() if configured else _user_cache() / "embedder" / kind


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    return Path(configured if os.path.isabs(configured) else os.path.expanduser("~/.cache"))


def derived_file(folder: Path, key: str, name: str, create: Create) -> Path:
    """Return the path of the file ``name`` under a key; create it if it is missing or damaged.

    If several processes want the same key at once, one creates the file and the others wait.

    Raises:
        ConfigurationError: the folder is not writable.
    """
    target = folder / key
    if _is_intact(target, name):
        return target / name
    try:
        with _locked(folder, key):
            if not _is_intact(target, name):
                _replace(target, create)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {name} to {folder}: {error}; set backend.cache_dir to a writable folder"
        ) from error
    return target / name


def discard(path: Path) -> None:
    """Delete all files under the key of a derived file."""
    with _locked(path.parent.parent, path.parent.name):
        shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    """Hold the lock of a key, which is released when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(target: Path, create: Create) -> None:
    prefix = f"{target.name}.writing-"
    for abandoned in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        create(staging)
        _sync_with_digests(staging)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync(target.parent)


def _sync_with_digests(folder: Path) -> None:
    """Write the digests of a folder's files, and flush all of it to the disk."""
    (folder / _DIGESTS).write_text(json.dumps(_digests(folder)))
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def _is_intact(folder: Path, name: str) -> bool:
    try:
        recorded = json.loads((folder / _DIGESTS).read_bytes())
        found = _digests(folder)
        return name in found and bool(recorded == found)
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir() if path.name != _DIGESTS}

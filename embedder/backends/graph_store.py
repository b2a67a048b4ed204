"""Graphs kept in a folder: each made once, verified on every use, whole or not there at all.

What one process writes, another never sees half of. Knows nothing of what makes a graph or runs it.
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

from embedder.errors import ConfigurationError
from embedder.models.safety import sha256

GRAPH = "model.onnx"

_DIGESTS = "sha256.json"

Make = Callable[[Path], None]
"""Writes `GRAPH`, and its weights beside it, into an empty folder."""


def default_folder() -> Path:
    """Return where graphs are kept if nobody says where: in the user's cache."""
    stated = os.environ.get("XDG_CACHE_HOME", "")
    cache = stated if os.path.isabs(stated) else os.path.expanduser("~/.cache")
    return Path(cache) / "embedder" / "onnx"


def kept_graph(folder: Path, key: str, make: Make) -> Path:
    """Return the path of a kept graph, making it where there is none or a damaged one.

    Of those that want the same graph at once, one makes it and the others wait.

    Raises:
        ConfigurationError: the folder cannot be written to.
    """
    target = folder / key
    if _is_intact(target):
        return target / GRAPH
    try:
        with _locked(folder, key):
            if not _is_intact(target):
                _replace(target, make)
    except OSError as error:
        raise ConfigurationError(
            f"an exported model cannot be kept in {folder}: {error}; set backend.cache_dir to a "
            "folder that can be written to"
        ) from error
    return target / GRAPH


def discard(graph: Path) -> None:
    """Remove a kept graph, by its path, that turned out to be of no use."""
    with _locked(graph.parent.parent, graph.parent.name):
        shutil.rmtree(graph.parent, ignore_errors=True)


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


def _is_intact(folder: Path) -> bool:
    try:
        stated = json.loads((folder / _DIGESTS).read_bytes())
        found = _digests(folder)
        return GRAPH in found and bool(stated == found)
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

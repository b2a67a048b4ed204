"""An object store that fsspec reaches. Its errors name no path and no credentials.

A driver's message may quote an address with a token, so an error is known by its class alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from embedder.core.errors import ConfigurationError, MissingExtra
from embedder.core.private_files import make_folder
from embedder.settings.index import SNAPSHOT_DRIVERS

SETTING = "index.snapshots"

_OPTIONS: dict[str, dict[str, Any]] = {
    # A part of an upload has 50 MiB, and the driver holds this many in memory.
    "s3": {"max_concurrency": 2}
}

PART_BYTES = 16 << 20
PARTS = 4
"""Parts of an object that are read at the same time."""

logger = logging.getLogger(__name__)


class ObjectStoreFailed(Exception):
    """The object store refused or did not answer; it was logged and counted."""


class ObjectStore:
    """The objects below ``folder`` at a URL; names are relative to it. Safe from several threads.

    Raises:
        ConfigurationError: the driver is not installed, or refuses the URL or its configuration.
        MissingExtra: fsspec is not installed.
    """

    def __init__(self, url: str, folder: str) -> None:
        check_driver(url)
        import fsspec

        self._scheme = urlsplit(url).scheme
        try:
            self._files, root = fsspec.url_to_fs(url, **_OPTIONS.get(self._scheme, {}))
        except Exception as error:  # noqa: BLE001 - drivers raise classes of their own
            raise ConfigurationError(
                f"{SETTING} cannot be used: the driver of {self._scheme}:// refuses the URL or "
                f"its configuration ({_classes(error)})"
            ) from None
        self._root = f"{root.rstrip('/')}/{folder}"
        self._is_down = False
        self.failures = 0
        """Calls that failed since the start."""

    def find(self, below: str = "") -> dict[str, int]:
        """Return the names of all objects in a folder and the folders below it, with their sizes.

        Raises:
            ObjectStoreFailed: the store does not answer.
        """
        with self._reporting("list snapshots"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._path(below), detail=True)
            except FileNotFoundError:
                return {}
            start = len(self._root) + 1
            return {path[start:]: int(one["size"]) for path, one in found.items()}

    def read(
        self, names: Sequence[str], starts: Sequence[int], ends: Sequence[int]
    ) -> list[bytes | None]:
        """Return a range of bytes of each object, None for one that is missing.

        Raises:
            ObjectStoreFailed: the store does not answer.
        """
        with self._reporting("read a snapshot"):
            paths = [self._path(name) for name in names]
            found = self._files.cat_ranges(paths, list(starts), list(ends), on_error="return")
            for one in found:
                if isinstance(one, Exception) and not isinstance(one, FileNotFoundError):
                    raise one
            return [None if isinstance(one, Exception) else one for one in found]

    def blocks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield the content of an object of this size; nothing more once it is missing.

        Raises:
            ObjectStoreFailed: the store does not answer.
        """
        for start in range(0, size, PART_BYTES * PARTS):
            starts = range(start, min(size, start + PART_BYTES * PARTS), PART_BYTES)
            ends = [min(size, one + PART_BYTES) for one in starts]
            for block in self.read([name] * len(starts), starts, ends):
                if block is None:
                    return
                yield block

    def put(self, path: Path, name: str) -> None:
        """Upload a file, unless it was deleted meanwhile; an interrupted upload may leave a part.

        Raises:
            ObjectStoreFailed: the object is not stored.
        """
        with self._reporting("store a snapshot"):
            target = self._path(name)
            if self._scheme == "file":
                make_folder(Path(target).parent)
            try:
                self._files.put_file(str(path), target)
            except FileNotFoundError:
                if path.exists():
                    raise

    def remove(self, name: str) -> None:
        """Remove an object, if it exists.

        Raises:
            ObjectStoreFailed: the object may still be there.
        """
        with self._reporting("remove a snapshot"), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    @contextmanager
    def _reporting(self, action: str) -> Iterator[None]:
        """Count each failure, and log the first of an outage and its end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - drivers raise classes of their own
            self.failures += 1
            if not self._is_down:
                self._is_down = True
                logger.warning(
                    "the object store of %s failed to %s (%s); the index works without it",
                    *(SETTING, action, _classes(error)),
                )
            # The driver's error is dropped: a traceback would show its message.
            raise ObjectStoreFailed(action) from None
        if self._is_down:
            self._is_down = False
            logger.warning("the object store of %s answers again", SETTING)


def check_driver(url: str) -> None:
    """Check that the driver of a valid URL is installed; nothing is connected.

    Raises:
        ConfigurationError: it is not installed.
        MissingExtra: fsspec is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(SETTING, "fsspec", "snapshots") from error
    scheme = urlsplit(url).scheme
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        driver = SNAPSHOT_DRIVERS[scheme]
        raise ConfigurationError(
            f"{SETTING} of {scheme}:// needs {driver}, which is not installed: pip install {driver}"
        ) from None


def _classes(error: BaseException | None) -> str:
    names = []
    while error is not None:
        names.append(type(error).__name__)
        error = error.__cause__
    return " from ".join(names)

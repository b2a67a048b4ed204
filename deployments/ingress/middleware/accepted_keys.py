"""The keys that one ingress replica accepts: those of its settings, and those of a file.

A thread reads the file every `READ_S` seconds, rather than the event loop or a health check of
Serve: a file system that hangs delays no request, and a key is revoked while Serve's controller is
away. The content is compared and not the time or the inode of the file, so that every kind of
replacement is seen: writing in place, a rename, or the link of a mounted secret.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from deployments.settings.access import ApiKey
from deployments.settings.keys_file import read_keys_file, with_file
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError

logger = logging.getLogger("ray.serve")

READ_S = 1.0
"""Seconds between two reads. A change is used at the second read that finds it, because the first
may see a file that is half written."""

PROBLEM = "the keys file cannot be used, so the keys before it stay; the log says why"
"""The problem as ``/readyz`` shows it; the path is only in the log."""


class AcceptedKeys:
    """The present keys in ``keys``; ``problem`` is why the file is not used, None if it is."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the file for the first time.

        Raises:
            ConfigurationError: the file cannot be used. A replica without its keys does not start,
                so that a deployment that names a wrong file replaces no replica.
        """
        self.required = settings.requires_keys
        self.keys: Sequence[ApiKey] = settings.keys
        self.problem: str | None = None
        self._configured = settings.keys
        self._used = self._seen = b""
        self._stop = threading.Event()
        self._file: Path | None = None
        if settings.keys_file is not None:
            self._file = Path(settings.keys_file).expanduser()
            self._used = self._seen = read_keys_file(self._file)
            self.keys = with_file(self._configured, self._used, self._file)

    def reload(self) -> None:
        """Read the file; a changed one is used from the second call on that finds it so."""
        if self._file is None:
            return
        try:
            content = read_keys_file(self._file)
            if content != self._seen:
                self._seen = content
                return
            if content != self._used:
                before, self.keys = self.keys, with_file(self._configured, content, self._file)
                self._used = content
                logger.info("%s is used: %s", self._file, _change(before, self.keys))
        except ConfigurationError as error:
            if self.problem != str(error):
                logger.error("%s; the keys stay as they are", error)
            self.problem = str(error)
        else:
            if self.problem is not None:
                logger.info("%s can be used again", self._file)
            self.problem = None

    def watch(self) -> None:
        """Start a daemon thread that calls `reload` until `close`, if there is a file."""
        if self._file is not None:
            threading.Thread(target=self._run, name="keys-file", daemon=True).start()

    def close(self) -> None:
        """Let the thread end; the keys stay as they are."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(READ_S):
            try:
                self.reload()
            except Exception:
                # The thread must outlive a fault, because no key could be revoked without it.
                logger.exception("the keys file was not read")


def _change(before: Sequence[ApiKey], after: Sequence[ApiKey]) -> str:
    """Return the names of the keys that differ, for the log."""
    old, new = ({key.name: key for key in keys} for keys in (before, after))
    named = {
        "new": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "revoked": [name for name in old if name not in new],
    }
    changes = [f"{kind} {', '.join(names)}" for kind, names in named.items() if names]
    return "; ".join([f"{len(after)} keys", *changes])

"""One thread that merges and saves segments for all collections of a shard, in turn.

Each gets one piece of work and then goes to the end of the queue, so that a large collection does
not keep small ones waiting for more than one merge. Knows nothing of what the work is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from embedder.core.storage_errors import StorageDamaged

RETRY_S = 5.0
"""How long a piece of work that the disk refused waits for its next try."""

logger = logging.getLogger(__name__)


class MaintenanceTask(Protocol):
    """What has work to be done now and then; `maintain` does one piece, False if there is none."""

    def maintain(self) -> bool:
        """Do one piece of work."""
        ...


class MaintenanceThread:
    """Runs until `close`; ``on_damage`` is told of data that cannot be trusted."""

    def __init__(self, on_damage: Callable[[StorageDamaged], None]) -> None:
        self._on_damage = on_damage
        self._waiting: dict[int, MaintenanceTask] = {}
        self._refused: dict[int, MaintenanceTask] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index-keeper", daemon=True)
        self._thread.start()

    def notify(self, one: MaintenanceTask) -> None:
        """Have work looked for; asking twice costs nothing."""
        with self._changed:
            self._waiting.setdefault(id(one), one)
            self._changed.notify()

    def should_stop(self) -> bool:
        """Say whether long work is to be given up."""
        return self._stop.is_set()

    def close(self) -> None:
        """Give up what is running and stop; doing it twice is harmless."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while (one := self._next()) is not None:
            try:
                if one.maintain():
                    self.notify(one)
            except OSError:
                logger.exception("the disk refused to save a segment; it is tried again")
                with self._changed:
                    self._refused[id(one)] = one
            except StorageDamaged as error:
                self._on_damage(error)
            except Exception:
                logger.exception("housekeeping failed; the next write has it tried again")

    def _next(self) -> MaintenanceTask | None:
        """Return whose turn it is, or None at the end."""
        with self._changed:
            while not self._stop.is_set():
                if self._waiting:
                    return self._waiting.pop(next(iter(self._waiting)))
                if not self._changed.wait(RETRY_S if self._refused else None):
                    self._waiting, self._refused = self._refused, {}
            return None

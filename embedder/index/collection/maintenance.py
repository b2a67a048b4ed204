"""One thread that merges and saves the segments of all collections of a shard.

Each collection gets one merge or save and then goes to the end of the queue, so small collections
never wait for more than one merge of a large one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageDamaged

RETRY_S = 5.0
"""Seconds before work that failed for the disk is tried again."""

Task = Callable[[], bool]
"""Does one step of work, and returns False if there was none."""

logger = logging.getLogger(__name__)


class MaintenanceThread:
    """Runs tasks in turn until `close`; ``on_damage`` receives the damage that a task finds."""

    def __init__(self, on_damage: Callable[[StorageDamaged], None]) -> None:
        self._on_damage = on_damage
        self._waiting: dict[Task, None] = {}
        self._failed: dict[Task, None] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index-maintenance", daemon=True)
        self._thread.start()

    def notify(self, task: Task) -> None:
        """Queue a task, unless it is queued already."""
        with self._changed:
            self._waiting.setdefault(task)
            self._changed.notify()

    def should_stop(self) -> bool:
        """Return whether a long step has to stop."""
        return self._stop.is_set()

    def close(self) -> None:
        """Stop the running step and the thread; a second call does nothing."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                if task():
                    self.notify(task)
            except (OSError, Unavailable) as error:
                logger.error("maintenance failed; trying again in %g s: %r", RETRY_S, error)
                with self._changed:
                    self._failed[task] = None
            except StorageDamaged as error:
                self._on_damage(error)
            except Exception:
                logger.exception("maintenance failed; the next write starts it again")

    def _next(self) -> Task | None:
        """Wait for the next task; return None after `close`."""
        with self._changed:
            while not self._stop.is_set():
                if self._waiting:
                    task = next(iter(self._waiting))
                    del self._waiting[task]
                    return task
                if not self._changed.wait(RETRY_S if self._failed else None):
                    self._waiting, self._failed = self._failed, {}
            return None

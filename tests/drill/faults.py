"""What each row of the drill does to the service, and the processes that it does it to."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

READY_S = 120.0

CONTROLLER, HAPROXY = "ray::ServeController", "haproxy"
REPLICA = "ray::ServeReplica:embedder:"


class Processes(Protocol):
    """A running service whose processes can be found by their titles."""

    def titled(self, title: str) -> list[int]:
        """Return the processes with this title."""


Fault = Callable[[], Awaitable[None]]
"""Begins one fault, and returns when it is over."""


class ProcessFaults:
    """Faults of single processes of a service; ``replicas`` has their number by deployment."""

    def __init__(self, service: Processes, replicas: Mapping[str, int]) -> None:
        self._service = service
        self._titles = {name: f"{REPLICA}{name}" for name in replicas}
        self._titles |= {"controller": CONTROLLER, "HAProxy": HAPROXY}
        self._whole = {title: replicas.get(name, 1) for name, title in self._titles.items()}

    def rows(self, stopped_s: float) -> Mapping[str, Fault]:
        """Return the rows by name: each kind of process killed, and stopped for some seconds."""

        def kill(title: str) -> Fault:
            async def fault() -> None:
                for pid in self._first(title):
                    os.kill(pid, signal.SIGKILL)

            return fault

        def stop(title: str) -> Fault:
            async def fault() -> None:
                stopped = self._first(title)
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(stopped_s)
                finally:
                    for pid in stopped:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGCONT)

            return fault

        killed = {f"kill {name}": kill(title) for name, title in self._titles.items()}
        return killed | {f"stop {name}": stop(title) for name, title in self._titles.items()}

    async def until_whole(self) -> None:
        """Wait until there are as many processes of each kind as there should be."""
        deadline = time.monotonic() + READY_S
        while missing := [
            title
            for title, count in self._whole.items()
            if len(self._service.titled(title)) < count
        ]:
            assert time.monotonic() < deadline, f"{missing} have not come back"
            await asyncio.sleep(0.5)

    def _first(self, title: str) -> list[int]:
        """Return one replica, or every process of what has no replicas."""
        found = sorted(self._service.titled(title))
        assert found, f"no process is called {title}"
        return found[:1] if title.startswith(REPLICA) else found

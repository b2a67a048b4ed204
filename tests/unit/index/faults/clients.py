"""The clients of one process: threads that take steps with an index, and report each of them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

from embedder.core.errors import EmbedderError, Unavailable
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.steps import (
    COMMON,
    DISPUTED,
    Step,
    draw_disputed,
    draw_kept,
    draw_maintenance,
    draw_write,
    take,
)

PAUSE_S = 0.01
"""Seconds before a client sends a refused step again."""


def report(event: dict[str, object]) -> None:
    """Write one line to standard output, whole, without buffering."""
    data = (json.dumps(event) + "\n").encode()
    with _writing:
        while data:
            data = data[os.write(1, data) :]


_writing = threading.Lock()


class Gate:
    """Lets the clients of a process begin steps, or keeps all of them between two steps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_open = False
        self._inside = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Wait until the gate is open; it closes after the block at the earliest."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def open(self) -> None:
        """Let clients begin steps."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until no client takes a step, and let none begin one."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: not self._inside)


class Client(threading.Thread):
    """Draws and takes steps until the process ends; the first letter of its name is its kind."""

    def __init__(self, index: VectorIndex, gate: Gate, name: str, seed: int, folder: Path) -> None:
        super().__init__(name=name, daemon=True)
        self._index, self._gate, self._folder = index, gate, folder
        self._chance = Random(f"{name} {seed}")
        self._seed, self._numbers = seed, count()
        self._kept: list[str] = []
        self._collection = {"k": name, "d": DISPUTED}.get(name[0], COMMON)
        kinds = {"w": self._write, "k": self._keep, "d": self._dispute, "m": self._maintain}
        self._draw: Callable[[], Step] = kinds[name[0]]

    def run(self) -> None:
        """Take steps; one that is refused for the moment is sent again, as a client does."""
        step = self._draw()
        while True:
            with self._gate.step():
                retry = self.attempt(step)
            if retry:
                threading.Event().wait(PAUSE_S)
            else:
                step = self._draw()

    def attempt(self, step: Step) -> bool:
        """Take and report a step; return whether it should be sent again."""
        report({"client": self.name, "step": step})
        try:
            number = take(self._index, self._collection, step)
        except EmbedderError as error:
            report({"client": self.name, "refused": repr(error)})
            return isinstance(error, Unavailable) and not self.name.startswith("m")
        report({"client": self.name, "number": number})
        if step[0] == "back_up":
            self._kept.append(step[1])
        return False

    def _write(self) -> Step:
        return draw_write(self._chance, self.name)

    def _keep(self) -> Step:
        free = self._folder / f"{self.name}.{self._seed}.{next(self._numbers)}"
        return draw_kept(self._chance, self.name, self._kept, str(free))

    def _dispute(self) -> Step:
        return draw_disputed(self._chance, self.name)

    def _maintain(self) -> Step:
        return draw_maintenance(self._chance, f"{self.name}.{self._seed}.{next(self._numbers)}")

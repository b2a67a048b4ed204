"""Starts and kills processes that write to an index, and records what they acknowledged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from embedder.index.contract.points import Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.crash_process import WIDTH, apply
from tests.unit.index.small_index import small_settings

ROOT = Path(__file__).parents[4]

Stored = dict[str, list[int]]


class CrashProcessPool:
    """One process that forks children; the acknowledged points carry over between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stored: Stored = {}
        self.maybe: list[Any] | None = None
        self.events: list[Any] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.index.faults.crash_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()

    def run(
        self,
        seed: int,
        *,
        steps: int = 1_000_000,
        kill_after_s: float | None = None,
        failpoint: str | None = None,
        plan: Any = "random",
    ) -> int:
        """Run one child to its end and return its exit status, negative for a signal."""
        assert self._process.stdin is not None
        job = {
            "directory": str(self.directory),
            "seed": seed,
            "steps": steps,
            "failpoint": failpoint,
            "plan": plan,
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self.maybe, self.events = None, []
        return self._follow(kill_after_s)

    def check(self) -> None:
        """Open the index twice; both times it holds the acknowledged points.

        A step that was not acknowledged has been applied completely, or not at all.
        """
        outcomes = [self.stored]
        if self.maybe is not None:
            outcomes.append(apply(self.stored, self.maybe))
        first = self._look()
        assert first in outcomes, (first, self.maybe)
        assert self._look() == first
        self.stored, self.maybe = first, None

    def _follow(self, kill_after_s: float | None) -> int:
        assert self._process.stdout is not None
        pid = json.loads(self._process.stdout.readline())["pid"]
        # Without a delay the timer is never started; cancelling it is harmless.
        timer = threading.Timer(kill_after_s or 0, _kill, [pid])
        if kill_after_s is not None:
            timer.start()
        for line in self._process.stdout:
            event = json.loads(line)
            if isinstance(event, dict) and "exit" in event:
                timer.cancel()
                return int(event["exit"])
            self._note(event)
        raise AssertionError("the forking process ended")

    def _note(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, list):
            self.maybe = event
        elif self.maybe is not None:
            if event == "done":
                self.stored = apply(self.stored, self.maybe)
            self.maybe = None

    def _look(self) -> Stored:
        index = VectorIndex(small_settings(self.directory, recovery_s=0.01), background=False)
        try:
            assert index.stats().status == "ready"
            if not index.collections():
                return {}
            records = index.scroll("c", limit=1000, include=("vector", "text", "metadata")).records
            query = Query("c", np.ones(WIDTH, np.float32), 1000)
            hits = index.search([query])[0]
            ids = [record.id for record in records]

            assert len(set(ids)) == len(ids) == index.count("c") == len(hits)
            assert {hit.id for hit in hits} == set(ids)
            stored: Stored = {}
            for record in records:
                assert record.vector is not None
                stored[record.id] = [int(component) for component in record.vector]
                assert record.text == str(stored[record.id])
                assert record.metadata == {"sum": sum(stored[record.id])}
            for hit in hits:
                distance = np.linalg.norm(np.array(stored[hit.id]) - 1.0)
                assert abs(hit.score + distance) < 1e-4
            return stored
        finally:
            index.close()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

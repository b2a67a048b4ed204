"""Starts and kills processes whose clients use an index, and records what they report."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.unit.index.faults.client_record import ClientRecord
from tests.unit.index.faults.looking import look_once
from tests.unit.index.faults.steps import Step
from tests.unit.index.places import Place
from tests.unit.waiting import LONG_S, eventually

ROOT = Path(__file__).parents[4]


class CrashProcess:
    """A process that forks a child for each job; the child is killed, or ends.

    ``clients`` are the names of the clients in each child.
    """

    def __init__(self, clients: list[str]) -> None:
        self.clients = clients
        self.record = ClientRecord()
        self.acknowledged = 0
        """How many steps have been acknowledged."""
        self.refusals: list[str] = []
        self._failure: Exception | None = None
        self._pid = 0
        self._answers: queue.Queue[Any] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.index.faults.crash_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self,
        record: ClientRecord,
        place: Place,
        seed: int,
        *,
        failpoint: str | None = None,
        plan: list[Step] | None = None,
    ) -> None:
        """Start a child; it has opened its index unless there is a plan, and takes no step yet."""
        self.record, self.refusals = record, []
        job = {
            "directory": str(place.folder),
            "url": place.url,
            "seed": seed,
            "failpoint": failpoint,
            "clients": self.clients,
            "backups": str(place.folder.with_name("backups")),
            "plan": plan,
        }
        self._send(json.dumps(job))
        self._pid = self._receive("pid")
        if plan is None:
            assert self._receive("answer") == "ready"

    def ask(self, command: str) -> Any:
        """Return the child's answer to a command."""
        self._send(command)
        return self._receive("answer")

    def kill(self) -> None:
        """Kill the child."""
        os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the end of the child, and return its exit status, negative for a signal.

        Steps without an answer may have been applied.
        """
        status = self._receive("exit")
        for client in self.clients:
            self.record.leave_open(client)
        return int(status)

    def wait_for(self, steps: int) -> None:
        """Wait until the child has acknowledged this many more steps."""
        wanted = self.acknowledged + steps
        self._wait(lambda: self.acknowledged >= wanted)

    def wait_for_refusal(self, error: str) -> None:
        """Wait until the child refuses a step with this error."""
        before = len(self.refusals)
        self._wait(lambda: any(error in one for one in self.refusals[before:]))

    def close(self) -> None:
        """End the process, when its child has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join()  # before the pipe is closed, into which clients still write
        with self._process:
            pass

    def _wait(self, condition: Callable[[], bool]) -> None:
        assert eventually(lambda: condition() or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive(self, kind: str) -> Any:
        try:
            event = self._answers.get(timeout=LONG_S)
        except queue.Empty:
            os.kill(self._pid, signal.SIGUSR1)
            raise
        if self._failure is not None:
            raise self._failure
        assert kind in event, f"{event} came instead of {kind}"
        return event[kind]

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._note(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the test raises it
            self._failure = error
            self._answers.put(None)

    def _note(self, event: dict[str, Any]) -> None:
        client = event.get("client")
        if client is None:
            self._answers.put(event)
        elif "step" in event:
            self.record.begin(client, event["step"])
        elif "refused" in event:
            self.refusals.append(event["refused"])
            self.record.leave_open(client)
        else:
            self.record.acknowledge(client, event["number"])
            self.acknowledged += 1


class ProcessGroup:
    """Processes whose clients write to one place: several of them, if it is a database."""

    def __init__(self, place: Place, count: int) -> None:
        self.record = ClientRecord()
        self._place = place
        self._processes = [
            CrashProcess([f"w{n}", f"w{n}x", f"k{n}", f"d{n}", f"m{n}"])
            for n in range(count if place.url else 1)
        ]

    def start(self) -> None:
        """Start all processes."""
        for number in range(len(self._processes)):
            self._start(number, 0)
        self._resume()

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.close()

    def wait_for(self, steps: int) -> None:
        """Wait until each process has acknowledged this many more steps."""
        for process in self._processes:
            process.wait_for(steps)

    def wait_for_refusals(self) -> None:
        """Wait until each process has refused a step because the database does not answer."""
        for process in self._processes:
            process.wait_for_refusal("StageUnavailable")

    def kill_one(self, chance: Random, later_s: float, seed: int) -> None:
        """Kill a process within some seconds, compare what others show, and start it again."""
        number = chance.randrange(len(self._processes))
        victim, place = self._processes[number], self._of(number)
        timer = threading.Timer(chance.uniform(0, later_s), victim.kill)
        timer.start()
        victim.wait()
        place.wait_until_left()
        self._check([process for process in self._processes if process is not victim])
        self._start(number, seed)
        self.record.check(victim.ask("look"))
        self._resume()

    def check(self) -> None:
        """Compare what each process shows, and a new one, with the record."""
        self._check(self._processes)
        self._resume()

    def _check(self, processes: Sequence[CrashProcess]) -> None:
        for process in processes:
            process.ask("pause")
        seen = [process.ask("look") for process in processes]
        seen.append(look_once(self._place))
        for one in seen:
            self.record.check(one)
            assert one == seen[0], "two processes show different points"

    def _resume(self) -> None:
        for process in self._processes:
            process.ask("resume")

    def _start(self, number: int, seed: int) -> None:
        self._processes[number].start(self.record, self._of(number), seed)

    def _of(self, number: int) -> Place:
        return self._place.beside(f"process-{number}")

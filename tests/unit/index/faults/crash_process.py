"""A process that uses an index until it is killed, and reports each step on standard output.

``python -m tests.unit.index.faults.crash_process`` imports the slow modules, then forks a child for
each job, a line of standard input: ``{"directory", "url", "seed", "failpoint", "clients",
"backups", "plan"}``. With a plan, the child takes its steps and closes the index. Otherwise it
starts paused, answers the commands ``pause``, ``look``, ``resume`` and ``close``, and its clients
take steps meanwhile.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss  # noqa: F401 - before the fork, so that no child imports it again

from embedder.core.errors import InvalidInput
from embedder.index.storage import failpoints
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.clients import Client, Gate, report
from tests.unit.index.faults.looking import look
from tests.unit.index.faults.steps import COMMON, SPEC
from tests.unit.index.places import place_of

with suppress(ImportError):
    import psycopg  # noqa: F401


def main() -> None:
    """Fork a child for every job, and report its exit status."""
    while line := sys.stdin.readline():
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                # By itself: a report of the parent may come after the first step.
                report({"pid": os.getpid()})
                run(job)
            except BaseException:  # noqa: BLE001 - the child must not continue as its parent
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        report({"exit": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else status >> 8})


def run(job: dict[str, Any]) -> None:
    """Use the index until the plan or the commands end, or the process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1)  # the parent asks where a child hangs
    failpoints.arm(job["failpoint"])
    plan = job["plan"]
    place = place_of(Path(job["directory"]), job["url"])
    index = VectorIndex(place.settings(recovery_s=0.01), background=plan is None)
    with suppress(InvalidInput):  # it may be of another kind
        index.create(COMMON, SPEC)
    gate, folder = Gate(), Path(job["backups"])
    clients = [Client(index, gate, name, job["seed"], folder) for name in job["clients"]]
    if plan is not None:
        for step in plan:
            clients[0].attempt(step)
    else:
        for client in clients:
            client.start()
        obey(index, gate)
    index.close()


def obey(index: VectorIndex, gate: Gate) -> None:
    """Answer commands until one closes the index, or the parent process has ended."""
    report({"answer": "ready"})
    while (command := sys.stdin.readline().strip()) not in ("close", ""):
        answer: object = command
        if command == "pause":
            gate.close()
        elif command == "look":
            answer = look(index)
        else:
            gate.open()
        report({"answer": answer})
    gate.close()


if __name__ == "__main__":
    main()

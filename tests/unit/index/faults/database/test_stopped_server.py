"""Immediate stops of the server lose no acknowledged write, and resurrect no deleted point.

Several processes write meanwhile; each of them recovers by itself. ``INDEX_STOPS`` is the number of
stops; 50 is the full run.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Timer

from tests.unit.index.faults.crash_processes import ProcessGroup
from tests.unit.index.places import PLACES
from tests.unit.index.storage.postgres.postgres_server import running_server

STOPS = int(os.environ.get("INDEX_STOPS", "1"))
PROCESSES = 2
STEPS = 10
"""Steps that each process has acknowledged before a stop, and after it."""
LATER_S = 0.1
"""Seconds after them, at most, until the server is stopped."""
LONG_STOPS = 5
"""One stop of so many lasts until each process has refused a step, of which it may not know
whether it was applied.
"""


def test_no_acknowledged_write_is_lost_when_the_server_is_stopped(tmp_path: Path) -> None:
    chance, server = Random(STOPS), running_server()
    with closing(ProcessGroup(PLACES["postgres"](tmp_path / "index"), PROCESSES)) as group:
        group.start()
        for turn in range(1, STOPS + 1):
            group.wait_for(STEPS)
            stop = Timer(chance.uniform(0, LATER_S), server.stop)
            stop.start()
            stop.join()
            try:
                if turn % LONG_STOPS == 0:
                    group.wait_for_refusals()
            finally:
                server.start()
            group.wait_for(STEPS)
            group.check()

"""After a crash at any time, acknowledged writes are stored and deleted points stay deleted.

``INDEX_KILLS`` is the number of random kills for each store; 200 is the full run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from embedder.index.storage.failpoints import POINTS
from tests.unit.index.faults.client_record import ClientRecord
from tests.unit.index.faults.crash_processes import CrashProcess, ProcessGroup
from tests.unit.index.faults.looking import look_once
from tests.unit.index.places import PLACES

KILLS = int(os.environ.get("INDEX_KILLS", "2"))
PROCESSES = 2
"""Processes that write to a database at once."""
STEPS = 10
"""Steps that each process has acknowledged before one is killed."""
LATER_S = 0.1
"""Seconds after them, at most, until then."""
NAMES = [f"w-{number}" for number in range(40)]
FILL: list[Any] = ["upsert", [[name, [at, 1, 2, -3]] for at, name in enumerate(NAMES)]]
PLAN: list[Any] = [
    FILL,
    ["delete", NAMES[:10]],
    ["snapshot", None],
    ["upsert", [[name, [1, at, -2, 3]] for at, name in enumerate(NAMES[5:25])]],
    ["optimize", None],
    ["snapshot", None],
    ["delete_matching", ["w", 5]],
    ["drop", "hnsw"],
    FILL,
    ["run_maintenance", None],
    ["reembed", "one"],
    ["reembed", "two"],
]
BEFORE = [FILL, ["snapshot", None], ["delete", NAMES[20:30]]]

ONLY_OF_FILES = {"recovery.after_open", "close.before_clean"}
CASES = [
    (store, point)
    for store in PLACES
    for point in POINTS
    if store == "sqlite" or point not in ONLY_OF_FILES
]


@pytest.fixture(scope="module")
def process() -> Iterator[CrashProcess]:
    """Return a process that takes the steps of a plan."""
    with closing(CrashProcess(["w"])) as process:
        yield process


@pytest.mark.parametrize("store", PLACES)
def test_no_acknowledged_write_is_lost_when_a_process_is_killed(store: str, tmp_path: Path) -> None:
    chance = Random(KILLS)
    with closing(ProcessGroup(PLACES[store](tmp_path / "index"), PROCESSES)) as group:
        group.start()
        for seed in range(1, KILLS + 1):
            group.wait_for(STEPS)
            group.kill_one(chance, LATER_S, seed)


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize(("store", "point"), CASES)
def test_a_crash_at_a_fail_point_leaves_the_state_before_or_after_the_step(
    process: CrashProcess, tmp_path: Path, store: str, point: str, turn: int
) -> None:
    place, record = PLACES[store](tmp_path / "index"), ClientRecord()
    process.start(record, place, 1, plan=BEFORE)
    assert process.wait() == 0
    record.check(look_once(place))
    once = point.startswith(("recovery", "close"))
    plan = list(PLAN)
    for copy in ("one", "two"):
        folder = str(tmp_path / copy)
        plan += [["back_up", folder], ["restore", [folder, copy]]]
    process.start(record, place, 1, plan=plan, failpoint=f"{point}:kill@{1 if once else turn}")

    assert process.wait() == -signal.SIGKILL, "the plan does not reach this fail point"
    for _ in range(2):
        record.check(look_once(place))

"""After a crash at any time, acknowledged writes are stored and deleted points stay deleted.

``INDEX_KILLS`` is the number of random kills; 200 is the full run.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from embedder.index.storage.failpoints import POINTS
from tests.unit.index.faults.process_pool import CrashProcessPool

KILLS = int(os.environ.get("INDEX_KILLS", "10"))
NAMES = [f"p{number}" for number in range(40)]
FILL: list[Any] = ["upsert", [[name, [at, 1, 2, -3]] for at, name in enumerate(NAMES)]]
PLAN: list[Any] = [
    FILL,
    ["delete", NAMES[:10]],
    ["snapshot", None],
    ["upsert", [[name, [1, at, -2, 3]] for at, name in enumerate(NAMES[5:25])]],
    ["optimize", None],
    ["snapshot", None],
    ["delete_matching", 5],
    ["drop", None],
    FILL,
    ["run_maintenance", None],
    ["reembed", "one"],
    ["reembed", "two"],
]
BEFORE = [FILL, ["snapshot", None], ["delete", NAMES[20:30]]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashProcessPool]:
    pool = CrashProcessPool(tmp_path_factory.mktemp("index"))
    yield pool
    pool.close()


def _begin(pool: CrashProcessPool, directory: Path) -> None:
    pool.directory, pool.stored, pool.maybe = directory, {}, None


def test_no_acknowledged_write_is_lost_when_the_process_is_killed(
    pool: CrashProcessPool, tmp_path: Path
) -> None:
    _begin(pool, tmp_path)
    chance = random.Random(KILLS)
    acknowledged = 0
    for seed in count():
        # More kills, where a busy machine leaves the processes little time.
        if seed >= KILLS and acknowledged > KILLS:
            break
        status = pool.run(seed, kill_after_s=chance.uniform(0.01, 0.4))

        assert status == -signal.SIGKILL
        acknowledged += pool.events.count("done")
        pool.check()


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_fail_point_leaves_the_state_before_or_after_the_step(
    pool: CrashProcessPool, tmp_path: Path, point: str, turn: int
) -> None:
    _begin(pool, tmp_path)
    assert pool.run(1, steps=len(BEFORE), plan=BEFORE) == 0
    pool.check()
    once = point.startswith(("recovery", "close"))
    plan = list(PLAN)
    for copy in ("one", "two"):
        place = str(tmp_path.with_name(f"{tmp_path.name}-{copy}"))
        plan += [["back_up", place], ["restore", [place, copy]]]
    status = pool.run(
        1, steps=len(plan), plan=plan, failpoint=f"{point}:kill@{1 if once else turn}"
    )

    assert status == -signal.SIGKILL, "the plan does not reach this fail point"
    pool.check()

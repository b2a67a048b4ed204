"""Whenever the process dies, what was acknowledged is there, and what was deleted stays deleted.

``INDEX_KILLS`` scales the random kills: 200 is the full run.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedder.index.storage.failpoints import POINTS
from tests.unit.index.kennel import Kennel

KILLS = int(os.environ.get("INDEX_KILLS", "20"))
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
    ["settle", None],
    ["reembed", "one"],
    ["reembed", "two"],
]
BEFORE = [FILL, ["snapshot", None], ["delete", NAMES[20:30]]]


@pytest.fixture(scope="module")
def kennels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kennel]:
    kennel = Kennel(tmp_path_factory.mktemp("index"))
    yield kennel
    kennel.close()


def _begin(kennel: Kennel, directory: Path) -> None:
    kennel.directory, kennel.stored, kennel.maybe = directory, {}, None


def test_nothing_acknowledged_is_lost_whenever_the_process_is_killed(
    kennels: Kennel, tmp_path: Path
) -> None:
    _begin(kennels, tmp_path)
    chance = random.Random(KILLS)
    acknowledged = 0
    for seed in range(KILLS):
        status = kennels.run(seed, kill_after_s=chance.uniform(0.01, 0.4))

        assert status == -signal.SIGKILL
        acknowledged += kennels.events.count("done")
        kennels.check()
    assert acknowledged > KILLS


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_at_every_named_point_the_state_is_before_or_after_and_never_between(
    kennels: Kennel, tmp_path: Path, point: str, turn: int
) -> None:
    _begin(kennels, tmp_path)
    assert kennels.run(1, steps=len(BEFORE), plan=BEFORE) == 0
    kennels.check()
    once = point.startswith(("recovery", "close"))
    plan = list(PLAN)
    for copy in ("one", "two"):
        place = str(tmp_path.with_name(f"{tmp_path.name}-{copy}"))
        plan += [["back_up", place], ["restore", [place, copy]]]
    status = kennels.run(
        1, steps=len(plan), plan=plan, failpoint=f"{point}:kill@{1 if once else turn}"
    )

    assert status == -signal.SIGKILL, "the plan does not come by this point"
    kennels.check()

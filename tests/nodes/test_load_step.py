"""Each stage follows a step of the load to its limit and back, without flapping.

The figures are printed: `make nodes` shows them with ``-s``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.service import RunningService
from tests.nodes.load_step import OpenLoad, StageLog, controller_log
from tests.nodes.waiting import wait_for

MOST = 4
SLOWER = 3.0
"""How much slower than the machine of the figures another one may be."""

DECISION_S, START_FACTOR = 5.0, 2.0
BEFORE_S, READY_S, AFTER_S, RETURN_S = 8.0, 120.0, 3.0, 90.0

SCALES: dict[str, Any] = {
    "min_replicas": 1,
    "max_replicas": MOST,
    "downscale_delay_s": 15.0,
    "num_cpus": 0.05,
}
ALONE: dict[str, dict[str, Any]] = {
    "ingress": {"max_replicas": 1},
    "tokenizer": {"max_replicas": 1},
    "encoder": {"replicas": 1, "placement": "remote"},
}
"""The stages that do not scale."""

ENCODER: dict[str, Any] = {"replicas": None, "placement": "remote", "hardware": "cpu"}

# Two cores cannot send what four replicas can do, so these are to be busy for a small share of the
# time. Each load asks for 6 replicas or more here, and the one before for a tenth of one: the first
# requests after the start take many times as long as later ones.
STEPS: dict[str, tuple[dict[str, Any], float, int, int]] = {
    "Ingress": ({"target_utilization": 0.02}, 200.0, 1, 4),
    "Tokenizer": ({"target_utilization": 0.003, "placement": "remote"}, 8.0, 8, 40),
    "Encoder": ({**ENCODER, "target_utilization": 0.08}, 8.0, 8, 40),
}
"""For each stage its settings, and the requests per second, texts and words of the load."""


@pytest.mark.parametrize("stage", STEPS)
def test_a_stage_follows_a_load_step_and_returns(stage: str, tmp_path: Path) -> None:
    settings, per_s, texts, words = STEPS[stage]
    arguments: dict[str, Any] = {**ALONE, stage.lower(): {**SCALES, **settings}}
    service = RunningService(tmp_path, None, **arguments)
    small = OpenLoad(service.url, 0.2, texts=1, words=4)
    large = OpenLoad(service.url, per_s, texts, words)
    try:
        service.wait()
        path = controller_log(tmp_path / "serve.log")
        try:
            asyncio.run(_step(small, large, lambda: StageLog.read(path, stage)))
        finally:
            log = StageLog.read(path, stage)
            _report(stage, log, large)
    finally:
        status = service.stop()

    assert status == 0
    _check(log, large.began_s)
    statuses = small.statuses + large.statuses
    assert set(statuses) <= {200, 429}, statuses


async def _step(small: OpenLoad, large: OpenLoad, log: Callable[[], StageLog]) -> None:
    """Send the small load all the time, and the large one until all replicas are ready."""
    sending = [asyncio.create_task(small.run())]
    await asyncio.sleep(BEFORE_S)
    sending.append(asyncio.create_task(large.run()))
    started = partial(wait_for, "all replicas", lambda: len(log().starts) >= MOST, READY_S)
    await asyncio.to_thread(started)
    await asyncio.sleep(AFTER_S)
    large.ended_s = time.time()
    returned = partial(wait_for, "one replica", lambda: log().decisions[-1].after == 1, RETURN_S)
    await asyncio.to_thread(returned)
    small.ended_s = time.time()
    await asyncio.gather(*sending)


def _check(log: StageLog, began_s: float) -> None:
    """See that the stage went to its limit in time, and back to one replica, with one turn."""
    assert log.decisions[0].at_s >= began_s, log
    decided_s = log.first_to(MOST)
    assert decided_s is not None, log
    assert decided_s - began_s <= SLOWER * DECISION_S, log
    first, *others = log.starts
    assert len(others) == MOST - 1
    assert others[-1].at_s - decided_s <= SLOWER * START_FACTOR * first.seconds
    assert log.turns == 1, log
    assert log.decisions[-1].after == 1


def _report(stage: str, log: StageLog, load: OpenLoad) -> None:
    """Print the figures of a run, in seconds since the load of the stage began."""
    lines = [f"{stage}: {dict(load.statuses)}, {log.turns} turns"]
    for decision in log.decisions:
        at_s = decision.at_s - load.began_s
        lines.append(f"{at_s:7.2f} {decision.before} -> {decision.after} ({decision.reason})")
    for start in log.starts:
        at_s = start.at_s - load.began_s
        lines.append(f"{at_s:7.2f} a replica is ready, {start.seconds} s after its start")
    lines.append(f"{load.ended_s - load.began_s:7.2f} the load has ended")
    sys.stdout.write("\n  ".join(lines) + "\n")

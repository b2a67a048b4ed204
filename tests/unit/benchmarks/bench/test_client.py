"""The load generator sends what a load says, and tells what came of it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from benchmarks.bench.client import Load, bodies, run
from benchmarks.bench.figures import Figures
from benchmarks.bench.lines import LineProcess
from tests.unit.benchmarks.bench.door import PATH, Door


def test_a_body_has_as_many_texts_as_are_asked_for_and_leaves_none_over() -> None:
    load = Load("http://here", PATH, ["a", "b", "c", "d", "e"], size=2, encoding="float")

    sent = [orjson.loads(body) for body in bodies(load)]

    assert [body["input"] for body in sent] == [["a", "b"], ["c", "d"]]
    assert {body["encoding_format"] for body in sent} == {"float"}


async def test_a_rate_is_that_of_texts_and_what_was_sent_is_counted_in_requests() -> None:
    texts = [str(number) for number in range(12)]
    door = Door(answer_s=0.02)
    async with door.open() as url:
        figures, sent = await run(Load(url, PATH, texts, size=3, clients=2, seconds=30.0))

    assert sent == 4
    assert sorted(door.texts) == sorted(texts)
    assert figures.statuses == {"200": 4}
    assert 0 < figures.per_s <= 12 / 0.04
    assert figures.stages_ms is not None
    assert figures.stages_ms["inference"] == 2.0


async def test_the_same_requests_go_in_a_circle_where_that_is_asked_for() -> None:
    door = Door()
    async with door.open() as url:
        _, sent = await run(Load(url, PATH, ["a", "b"], seconds=0.2, again=True))

    assert set(door.texts) == {"a", "b"}
    assert len(door.texts) == sent > 2


async def test_an_open_loop_tells_what_was_offered() -> None:
    due = [0.0, 0.05, 0.1, 0.2]
    door = Door()
    async with door.open() as url:
        figures, sent = await run(Load(url, PATH, list("abcd"), due=due))

    assert figures.offered_per_s == 4 / 0.2
    assert figures.client_late_p99_ms is not None
    assert sent == len(door.asked) == 4


async def test_in_a_process_of_its_own_it_answers_a_line_with_a_line(tmp_path: Path) -> None:
    def ask(load: Load) -> dict[str, object]:
        command = [sys.executable, "-m", "benchmarks.bench.client"]
        log = tmp_path / "client.log"
        with LineProcess(command, log=log, environment=os.environ, start_s=60.0) as client:
            return client.ask(asdict(load), timeout_s=30.0)

    door = Door()
    async with door.open() as url:
        answer = await asyncio.to_thread(ask, Load(url, PATH, ["a", "b"], seconds=30.0))

    figures = answer["figures"]
    assert isinstance(figures, dict)
    assert Figures(**figures).statuses == {"200": 2}
    assert answer["sent"] == 2

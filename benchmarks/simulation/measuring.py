"""Measures a real service on this machine, so that the simulation's constants come from it.

The service has one ingress and one encoder replica in processes of their own, and no cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.http_load import Answer, HttpRequest
from benchmarks.overload_routes import embedded
from benchmarks.texts import sample

CHANGES: dict[str, dict[str, Any]] = {
    "encoder": {"replicas": 1, "placement": "remote", "num_cpus": 0.5, "hardware": "cpu"},
    "tokenizer": {"min_replicas": 1, "max_replicas": 1},
    "cache": {"max_bytes": 0, "local_bytes": 0},
}
"""The changes of a configuration for the service that is measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one load of ``seconds``; batches, ``busy_s`` and CPU seconds are of that time.

    ``answers`` has each attempt of each of the ``sent`` requests.
    """

    sent: int
    seconds: float
    answers: list[Answer]
    batches: int
    tokens: int
    busy_s: float
    ingress_cpu_s: float
    budget_tokens: int


@dataclass(frozen=True, slots=True)
class Target:
    """The service that is measured."""

    session: aiohttp.ClientSession

    async def measured(self, load: Awaitable[list[Answer]]) -> Measured:
        """Return the figures of a load."""
        before, cpu_s, began = await self._encoder(), self._ingress_cpu_s(), time.perf_counter()
        answers = await load
        seconds = time.perf_counter() - began
        after = await self._encoder()
        return Measured(
            sent=sum(not answer.returned for answer in answers),
            seconds=seconds,
            answers=answers,
            batches=after["batches"] - before["batches"],
            tokens=after["tokens"] - before["tokens"],
            busy_s=after["busy_s"] - before["busy_s"],
            ingress_cpu_s=self._ingress_cpu_s() - cpu_s,
            budget_tokens=after["budget_tokens"],
        )

    async def _encoder(self) -> dict[str, Any]:
        async with self.session.get("/v1/stats") as answer:
            answer.raise_for_status()
            (replica,) = (await answer.json())["encoders"]
            batching: dict[str, Any] = replica["models"][0]["batching"]
            return batching

    def _ingress_cpu_s(self) -> float:
        """Return the CPU seconds of the ingress process of this service."""
        folder, ticks = os.environ["EMBEDDER_DATA_DIRECTORY"], os.sysconf("SC_CLK_TCK")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b":Ingress" not in (process / "cmdline").read_bytes():
                    continue
                if folder.encode() not in (process / "environ").read_bytes():
                    continue
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            return (int(fields[11]) + int(fields[12])) / ticks
        raise RuntimeError("the process of the ingress was not found")


def texts(seed: int) -> Iterator[HttpRequest]:
    """Yield requests of one text each, all distinct."""
    for number in range(1_000_000):
        chunk = sample(1000, seed=seed * 1_000_003 + number)
        yield from (embedded([f"{text} {number}"]) for text in chunk)

"""One row of the drill: load, a fault in the middle of it, and a last look at what was stored.

``DRILL_ROWS="kill Ingress,stop Encoder"`` chooses rows (``all``: every one), ``DRILL_S`` is how
many seconds of load follow each fault, ``DRILL_STOP_S`` how long a process stands still, and
``DRILL_SEED`` chooses the load. Without ``DRILL_ROWS`` no row runs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import httpx
import pytest

from tests.drill.expected import Expected
from tests.drill.faults import Fault
from tests.drill.figures import Figures, figures, line
from tests.drill.mixed_load import MixedLoad
from tests.drill.retrying import Request, RetryingTransport

WANTED = os.environ.get("DRILL_ROWS", "")
AFTER_S = float(os.environ.get("DRILL_S", "20"))
STOPPED_S = float(os.environ.get("DRILL_STOP_S", "60"))
SEED = int(os.environ.get("DRILL_SEED", "0"))
BEFORE_S = 5.0
READY_S = 120.0

SLOW_S = 10.0
"""The attempts of a request that takes longer are printed."""

skipped_unless_wanted = pytest.mark.skipif(not WANTED, reason="DRILL_ROWS is not set")


def wanted(rows: Sequence[str]) -> list[str]:
    """Return those of the rows that this run is about."""
    return [row for row in rows if WANTED == "all" or row in WANTED.split(",")]


class Row:
    """Runs one row against a service at ``urls``, and adds its figures to ``table``.

    ``has_swapped``: whether the service serves the model of `SwappedModel` too.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        expected: Expected,
        table: list[Figures],
        headers: Mapping[str, str] | None = None,
        *,
        has_swapped: bool = True,
    ) -> None:
        self._name = name
        self._urls = urls
        self._transport = RetryingTransport(urls)
        self._load = MixedLoad(
            self._transport, expected, SEED, headers or {}, has_swapped=has_swapped
        )
        self._table = table

    async def run(self, fault: Fault, until_whole: Fault | None = None) -> None:
        """Send the load with the fault in its middle, and check what was answered and stored."""
        load, transport = self._load, self._transport
        await load.prepare()
        transport.requests.clear()
        stop = asyncio.Event()
        began_s = time.monotonic()
        running = asyncio.create_task(load.run(stop))
        await asyncio.sleep(BEFORE_S)
        fault_s = time.monotonic()
        await fault()
        await asyncio.sleep(AFTER_S)
        stop.set()
        end_s = time.monotonic()
        await running
        requests = list(transport.requests)
        if until_whole is not None:
            await until_whole()
            await self._until_ready()
        await load.check()
        row = figures(self._name, requests, (began_s, fault_s, end_s), load.wrong)
        self._table.append(row)
        slow = _slow(requests, fault_s)
        print("", line(row), *row.reasons, *slow, *load.problems, sep="\n")
        assert (row.failures, row.wrong, load.problems) == (0, 0, [])
        assert (row.index_failures, row.without_retry_after) == (0, 0)
        assert row.first_s is not None

    async def _until_ready(self) -> None:
        """Wait until every stage answers at every address."""
        deadline = time.monotonic() + READY_S
        async with httpx.AsyncClient(timeout=10) as client:
            for url in self._urls:
                while True:
                    stages = None
                    with suppress(httpx.TransportError, ValueError, KeyError):
                        stages = (await client.get(f"{url}/readyz")).json()["stages"]
                    if stages is not None and set(stages.values()) == {"ready"}:
                        break
                    assert time.monotonic() < deadline, f"{url} is not whole: {stages}"
                    await asyncio.sleep(0.5)


def _slow(requests: Sequence[Request], fault_s: float) -> list[str]:
    """Return a line for each request that took long: when it was sent, and its attempts."""
    return [
        f"sent {one.began_s - fault_s:.1f} s after the fault: {', '.join(one.attempts)}"
        for one in requests
        if one.ended_s - one.began_s > SLOW_S
    ]

"""A step of the load on a service, and what the log of Serve's controller says about one stage."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

WORDS = ("light", "house", "winter", "green", "road", "mountain", "letter", "music", "early")

STAMP = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"
DECIDED = rf"{STAMP} controller .*scaling STAGE from (\d+) to (\d+) replicas \(([a-z ]+)\)"
STARTED = (
    rf"{STAMP} controller .*id='\w+', deployment='STAGE'.*"
    r" started successfully .* after ([\d.]+)s"
)


def controller_log(serve_log: Path) -> Path:
    """Return the log of the controller whose process the log of `embedder serve` names."""
    found = re.search(r"ServeController pid=(\d+)", serve_log.read_text(errors="replace"))
    assert found is not None, "Ray says which process is the controller"
    logs = Path("/tmp/ray").glob(f"session_*/logs/serve/controller_{found[1]}.log")
    return max(logs, key=lambda path: path.stat().st_mtime)


@dataclass(frozen=True)
class Decision:
    """One decision of the policy, and the time of the log record."""

    at_s: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True)
class Start:
    """One replica that became ready, and the seconds that it took."""

    at_s: float
    seconds: float


@dataclass
class StageLog:
    """The decisions about a stage and the starts of its replicas, in order."""

    decisions: list[Decision] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)

    @classmethod
    def read(cls, log: Path, stage: str) -> StageLog:
        """Return what a log of Serve's controller says."""
        text = log.read_text(errors="replace")
        decided = re.findall(DECIDED.replace("STAGE", stage), text)
        started = re.findall(STARTED.replace("STAGE", stage), text)
        return cls(
            [Decision(_time(at), int(one), int(two), why) for at, one, two, why in decided],
            [Start(_time(at), float(seconds)) for at, seconds in started],
        )

    @property
    def turns(self) -> int:
        """Return how often the number of replicas changed its direction."""
        ups = [decision.after > decision.before for decision in self.decisions]
        return sum(before != after for before, after in pairwise(ups))

    def first_to(self, target: int) -> float | None:
        """Return when the target became ``target`` for the first time."""
        return next((one.at_s for one in self.decisions if one.after == target), None)


def _time(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()


@dataclass
class OpenLoad:
    """Requests at a fixed rate, whatever happens to those before; every text is new."""

    url: str
    requests_per_s: float
    texts: int
    words: int
    statuses: Counter[int] = field(default_factory=Counter)
    began_s: float = 0.0
    ended_s: float = 0.0

    async def run(self) -> None:
        """Send until ``ended_s`` is set, and wait for what was sent."""
        # With a limit of connections, requests that wait would keep others from being sent.
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=60.0) as client:
            self.began_s = time.time()
            started = time.monotonic()
            sent: set[asyncio.Task[None]] = set()
            for number in itertools.count():
                pause_s = started + number / self.requests_per_s - time.monotonic()
                await asyncio.sleep(max(0.0, pause_s))
                if self.ended_s:
                    break
                sent.add(asyncio.create_task(self._send(client)))
            await asyncio.gather(*sent)

    async def _send(self, client: httpx.AsyncClient) -> None:
        texts = [" ".join(random.choices(WORDS, k=self.words)) for _ in range(self.texts)]
        try:
            body: Any = {"input": texts, "encoding_format": "base64"}
            answer = await client.post(f"{self.url}/v1/embeddings", json=body)
            self.statuses[answer.status_code] += 1
        except httpx.HTTPError:
            self.statuses[0] += 1

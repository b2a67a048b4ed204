"""The node with the only replica of the index is lost under load; its points are in a database."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle, pairwise

import httpx
import pytest

from embedder.core.types import Vectors
from tests.nodes.logical_service import LogicalService
from tests.nodes.replicated_index import (
    TIMEOUT_S,
    fill,
    post,
    served_from_database,
    vectors,
)
from tests.nodes.waiting import wait_for

POINTS = 50_000
WITHIN_S = 20.0
"""Seconds in which searches must be complete again."""

BEFORE_S, AFTER_S, PAUSE_S = 3.0, 10.0, 0.1


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogicalService]:
    with served_from_database(
        tmp_path_factory.mktemp("lost"), min_replicas=1, max_replicas=1
    ) as running:
        yield running


@dataclass
class Load:
    """When good answers to searches came, and the other statuses.

    ``stored`` counts the points whose write was acknowledged.
    """

    urls: list[str]
    given: Vectors
    good: list[float] = field(default_factory=list)
    others: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stored: int = 0

    def search(self, client: httpx.Client, url: str) -> None:
        """Search for the nearest neighbour of a point, which is the point."""
        number = random.randrange(POINTS)
        body = {"vector": self.given[number].tolist(), "top_k": 1, "complete": True}
        answer = post(client, url, "/search", body)
        if answer.status_code != 200:
            self._refused(answer)
        elif [hit["id"] for hit in answer.json()["results"]] == [str(number)]:
            self.good.append(time.monotonic())
        else:
            self.wrong.append(answer.text)

    def write(self, client: httpx.Client, url: str) -> None:
        """Store the next point; a point without an answer is sent again, as a client does."""
        point = {"id": f"new {self.stored}", "vector": self.given[self.stored].tolist()}
        answer = post(client, url, "/points", {"points": [point]})
        if answer.status_code == 200:
            self.stored += 1
        else:
            self._refused(answer)

    def _refused(self, answer: httpx.Response) -> None:
        self.others[answer.status_code] += 1
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.wrong.append(answer.text)


@contextmanager
def _sending(load: Load, headers: dict[str, str]) -> Iterator[None]:
    """Search twice and write once at a time meanwhile."""
    ended = threading.Event()

    def send(request: Callable[[httpx.Client, str], None]) -> None:
        urls = cycle(load.urls)
        with httpx.Client(headers=headers, timeout=TIMEOUT_S) as client:
            for _ in count():
                if ended.wait(PAUSE_S):
                    return
                try:
                    request(client, next(urls))
                except httpx.TransportError:
                    load.others[0] += 1

    with ThreadPoolExecutor() as threads:
        sending = [threads.submit(send, one) for one in (load.search, load.search, load.write)]
        try:
            yield
        finally:
            ended.set()
    for one in sending:
        one.result()


def _end_of_longest_pause(came: list[float], began: float) -> float:
    """Return how many seconds after ``began`` answers came again.

    The replica may answer for a moment after its node was killed.
    """
    later = sorted(one for one in came if one > began)
    _, end = max(pairwise([began, *later]), key=lambda pause: pause[1] - pause[0])
    return end - began


def test_results_are_complete_again_soon_after_the_loss_of_the_only_replica(
    service: LogicalService,
) -> None:
    given, headers = vectors(POINTS), dict(service.headers)
    with httpx.Client(headers=headers, timeout=TIMEOUT_S) as client:
        fill(client, service.urls["head"], given)
        (lost,) = service.names("VectorIndex-0")
        (kept,) = {"data", "cpu"} - {lost}
        load = Load([service.urls["head"], service.urls[kept]], given)
        with _sending(load, headers):
            time.sleep(BEFORE_S)
            before = len(load.good)
            began = time.monotonic()
            service.remove(lost)
            wait_for(
                "a replica on the other node",
                lambda: service.names("VectorIndex-0") == [kept],
                WITHIN_S * 6,
            )
            time.sleep(AFTER_S)
        complete_s = _end_of_longest_pause(load.good, began)
        answer = post(client, service.urls[kept], "/points/count", {})
        counted = answer.json()["count"]
        nodes = service.names("VectorIndex-0")
    sys.stdout.write(
        f"complete again after {complete_s:.1f} s; {len(load.good)} searches found their point, "
        f"{before} of them before, {load.stored} writes, others {dict(load.others)}\n"
    )

    assert before > 0
    assert load.wrong == []
    assert complete_s < WITHIN_S
    assert POINTS + load.stored <= counted <= POINTS + load.stored + 1
    assert nodes == [kept]

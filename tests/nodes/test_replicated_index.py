"""Three replicas of one shard: what one ingress has stored, the other one finds at once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import httpx
import pytest

from tests.nodes.logical_service import LogicalService
from tests.nodes.replicated_index import TIMEOUT_S, post, served_from_database, vectors
from tests.nodes.waiting import wait_for

WRITES = int(os.environ.get("NODES_WRITES", "300"))
"""Points that are written and looked for."""

WRITERS = 8
REPLICAS = 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogicalService]:
    folder = tmp_path_factory.mktemp("replicated")
    bounds = {"min_replicas": REPLICAS, "max_replicas": REPLICAS, "max_replicas_per_node": 2}
    with served_from_database(folder, **bounds) as running:
        wait_for("every replica", lambda: len(running.names("VectorIndex-0")) == REPLICAS)
        yield running


def test_each_replica_has_a_folder_of_its_own(service: LogicalService) -> None:
    names = service.names("VectorIndex-0")
    folders = {
        node: sorted(
            path.name for path in (service.folder / node).glob("embedder/index/VectorIndex-0/*")
        )
        for node in set(names)
    }

    assert set(names) == {"data", "cpu"}
    assert folders == {
        node: [f"replica-{number}" for number in range(names.count(node))] for node in folders
    }


def test_a_write_through_one_ingress_is_found_through_the_other_at_once(
    service: LogicalService,
) -> None:
    one, other = service.ingresses().values()
    given = vectors(WRITES)
    began = time.monotonic()

    def write(writer: int) -> list[int]:
        """Return the numbers of the points that were not found."""
        missing = []
        ways = cycle([(one, other), (other, one)])
        with httpx.Client(headers=service.headers, timeout=TIMEOUT_S) as client:
            for number in range(writer, WRITES, WRITERS):
                stored_at, looked_for_at = next(ways)
                row = given[number].tolist()
                point = {"id": str(number), "vector": row}
                stored = post(client, stored_at, "/points", {"points": [point]})
                assert stored.status_code == 200, stored.text
                found = post(client, looked_for_at, "/search", {"vector": row, "top_k": 1})
                assert found.status_code == 200, found.text
                if [hit["id"] for hit in found.json()["results"]] != [str(number)]:
                    missing.append(number)
        return missing

    with ThreadPoolExecutor(WRITERS) as threads:
        missing = [number for part in threads.map(write, range(WRITERS)) for number in part]
    seconds = time.monotonic() - began
    sys.stdout.write(f"{WRITES - len(missing)} of {WRITES} found at once, in {seconds:.0f} s\n")

    assert missing == []


def test_every_replica_answered(service: LogicalService) -> None:
    """So the test before was about all of them."""
    url = service.urls["head"]
    answer = httpx.get(f"{url}/v1/stats", headers=dict(service.headers)).json()
    shards = answer["indexes"]

    assert [one["shard"] for one in shards] == ["VectorIndex-0"] * REPLICAS
    assert len({one["replica"] for one in shards}) == REPLICAS
    assert all(one["status"] == "ready" for one in shards)
    assert answer["collections"][0]["count"] == WRITES
    assert all(one["reads"] > 0 for one in shards)

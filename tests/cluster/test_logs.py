"""What a real service logs: nothing about refused requests, and few bytes about a failed shard.

``TEST_PROBES=3600`` sends as many requests to a failed shard of a service of its own, which takes a
minute or two; without it the unit tests send some in one process.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import httpx
import pytest

from deployments.launch.services.instances import services
from tests.cluster.service import RunningService

PROBES = int(os.environ.get("TEST_PROBES", "0"))
MAX_BYTES_PER_PROBE = 10_000_000 / 3600
CLIENTS = 16

WRONG = {
    "/v1/collections/none%0AERROR%20forged/search": {"vector": [1.0, 0.0]},
    "/v1/collections/none/points/fetch": {"ids": ["a"]},
    "/v1/embeddings": {"input": ""},
    "/decode": {"ids": [10**9]},
    "/nowhere": {},
}


def _logs(service: RunningService) -> Path:
    """Return the folder with the logs of all processes of a service."""
    (folder,) = [one.description.logs for one in services() if one.port == service.port]
    assert folder is not None
    return Path(folder).parent


def _sizes(folder: Path) -> dict[Path, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: path.stat().st_size for path in files}


def test_no_refused_request_is_in_a_log(service: RunningService) -> None:
    folder = _logs(service)
    before = _sizes(folder)
    statuses = [
        httpx.post(f"{service.url}{path}", json=body, timeout=60).status_code
        for path, body in WRONG.items()
    ]
    text = "".join(
        path.read_bytes()[before.get(path, 0) :].decode(errors="replace")
        for path in (folder / "serve").glob("replica_*.log")
    )

    assert all(400 <= status < 500 for status in statuses)
    assert "Traceback" not in text
    assert "forged" not in text


def test_a_request_id_that_must_not_be_in_a_log_is_replaced(service: RunningService) -> None:
    ids = []
    for given in ("mine", "two words", "a" * 129):
        answer = httpx.get(f"{service.url}/healthz", headers={"x-request-id": given}, timeout=60)
        ids.append(answer.headers.get_list("x-request-id"))

    assert ids[0] == ["mine"]
    assert [len(one) for (one,) in ids[1:]] == [36, 36]


@pytest.mark.skipif(PROBES == 0, reason="starts a service of its own; TEST_PROBES=3600")
def test_a_failed_shard_does_not_fill_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "data" / "index" / "VectorIndex-0" / "truth.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 8192)
    failing = RunningService(tmp_path)
    try:
        failing.wait()
        folder = _logs(failing)
        before = sum(_sizes(folder).values())
        statuses = asyncio.run(_probe(failing.url))
        written = sum(_sizes(folder).values()) - before
    finally:
        failing.stop()

    print(f"{PROBES} probes wrote {written:,} bytes")  # noqa: T201 - with `pytest -s`
    assert statuses == {503: PROBES}
    assert written < PROBES * MAX_BYTES_PER_PROBE


async def _probe(url: str) -> Counter[int]:
    statuses: Counter[int] = Counter()
    numbers = iter(range(PROBES))

    async def search(client: httpx.AsyncClient) -> None:
        for number in numbers:
            headers = {"x-request-id": f"probe-{number}"}
            body = {"vector": [1.0, 0.0]}
            answer = await client.post("/v1/collections/docs/search", json=body, headers=headers)
            statuses[answer.status_code] += 1

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(search(client) for _ in range(CLIENTS)))
    return statuses

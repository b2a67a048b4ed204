"""A service whose index is in PostgreSQL: without its database, and after its return."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.cluster.service import RunningService
from tests.nodes.waiting import wait_for
from tests.unit.index.storage.postgres.postgres_server import (
    PASSWORD,
    PostgresServer,
    server_of_test,
)

pytestmark = pytest.mark.skipif(
    "TEST_STORE" not in os.environ, reason="starts a second service: 'make stores' runs it"
)

COLLECTION = "/v1/collections/points"
BACK_S = 30.0
POINT = {"id": "a", "vector": [1.0, 0.0]}
QUERY = {"vector": [1.0, 0.0], "top_k": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yield a server that a test may stop."""
    server = server_of_test()
    server.create()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def database_service(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """Yield a service that started while its database was down."""
    url = server.create_database()
    server.stop()
    service = RunningService(
        tmp_path_factory.mktemp("database"),
        encoder={"replicas": 1},
        index={"url": url},
        vector_index={"min_replicas": 2, "max_replicas": 2},
    )
    try:
        service.wait()
        yield service
    finally:
        service.stop()


def _request(service: RunningService, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, f"{service.url}{path}", json=body, timeout=60)


def _writes(service: RunningService) -> bool:
    return _request(service, "POST", f"{COLLECTION}/points", {"points": [POINT]}).is_success


def _is_to_be_repeated(response: httpx.Response) -> bool:
    return response.status_code == 503 and int(response.headers["retry-after"]) >= 1


def _index_level(service: RunningService) -> str:
    level: str = _request(service, "GET", "/readyz").json()["capabilities"]["index"]
    return level


def test_it_starts_without_the_database_and_recovers_by_itself(
    database_service: RunningService, server: PostgresServer
) -> None:
    service = database_service
    assert _index_level(service) == "failed"
    assert _request(service, "GET", "/readyz").json()["stages"]["VectorIndex-0"] == (
        "unavailable: the database of the index is not available"
    )
    assert _is_to_be_repeated(_request(service, "POST", f"{COLLECTION}/search", QUERY))
    server.start()

    wait_for("a write", lambda: _writes(service), BACK_S)
    wait_for("a ready index", lambda: _index_level(service) == "ready", BACK_S)


def test_it_answers_stale_searches_without_the_database_and_recovers_by_itself(
    database_service: RunningService, server: PostgresServer
) -> None:
    service = database_service
    assert _writes(service)
    stale = {**QUERY, "consistency": "stale"}

    def found(body: dict[str, Any]) -> Callable[[], bool]:
        def holds() -> bool:
            answers = [_request(service, "POST", f"{COLLECTION}/search", body) for _ in range(6)]
            return all(
                answer.is_success and answer.json()["results"][0]["id"] == "a" for answer in answers
            )

        return holds

    wait_for("both replicas have the point", found(stale), BACK_S)
    server.stop()
    for method, path, body in (
        ("POST", f"{COLLECTION}/search", QUERY),
        ("POST", f"{COLLECTION}/points/fetch", {"ids": ["a"]}),
        ("POST", f"{COLLECTION}/points", {"points": [POINT]}),
        ("GET", COLLECTION, None),
        ("DELETE", COLLECTION, None),
    ):
        assert _is_to_be_repeated(_request(service, method, path, body)), path
    assert found(stale)()
    assert _index_level(service) == "failed"
    assert _request(service, "GET", "/v1/stats").json()["collections"][0]["name"] == "points"
    server.start()

    wait_for("the latest search", found(QUERY), BACK_S)
    wait_for("a write", lambda: _writes(service), BACK_S)
    wait_for("a ready index", lambda: _index_level(service) == "ready", BACK_S)


def test_the_password_is_in_no_log_and_no_argument(database_service: RunningService) -> None:
    service = database_service
    held = [
        Path(f"/proc/{process}/{name}").read_bytes()
        for process in service.processes()
        for name in ("cmdline", "environ")
    ]
    sessions = {one.decode() for text in held for one in re.findall(rb"session_2[-_\d]+", text)}
    logs = [path for one in sessions for path in Path("/tmp/ray", one, "logs").rglob("*")]
    files = [path for path in logs if path.is_file()]
    held += [path.read_bytes() for path in (*files, service.folder / "serve.log")]
    assert any(b"embedder" in text for text in held)

    assert files
    for secret in (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD)):
        assert not any(secret.encode() in text for text in held)

"""The OpenAPI description is correct: schemathesis sends valid and invalid requests.

Once to the running service, and once, with keys, to the same application over stages in this
process. Every check is on: statuses, headers and bodies as described, what is wrong refused, what
needs a key closed without one, unknown methods refused, and never a failure of the service.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from deployments.ingress.asgi import build_asgi
from deployments.settings.access import HEALTH_CHECKS
from tests.cluster.service import RunningService
from tests.ports import free_port
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.examples import TIMES

CONFIG = Path(__file__).with_name("schemathesis.toml")
KEY = "emb-every-scope"
START_S = 60.0
TIMEOUT_S = 300.0 * TIMES
EXAMPLES = 8 * TIMES
"""Random requests to each operation, in addition to requests at the limits of its description."""

Run = Future[subprocess.CompletedProcess[str]]

PHASES = "examples,fuzzing,stateful"
LIMITS = "coverage"
"""The phase of the requests at the limits, which the running service gets in every run."""


class Keyed:
    """The application with a key, served by uvicorn in a thread until it is closed."""

    def __init__(self) -> None:
        self.url = ""
        self._servers: list[uvicorn.Server] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not any(server.started for server in self._servers):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self) -> None:
        """Stop serving."""
        self._servers[0].should_exit = True
        self._thread.join(START_S)

    async def _serve(self) -> None:
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        key = {"name": "all", "sha256": digest, "scopes": ["read", "write", "admin"]}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        application = build_asgi(FakeService(keys=[key]))
        server = uvicorn.Server(uvicorn.Config(application, port=port, log_config=None))
        self._servers.append(server)
        await server.serve()


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    """Yield the address of an application that wants a key."""
    server = Keyed()
    yield server.url
    server.close()


@pytest.fixture(scope="module")
def keyed_run(keyed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Yield the requests with a key, which run beside those of the first test."""
    phases = PHASES if TIMES == 1 else f"{PHASES},{LIMITS}"
    folder = tmp_path_factory.mktemp("keyed")
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(_schemathesis, keyed, folder, EXAMPLES // 2, phases, KEY)


@pytest.fixture
def collections(service: RunningService) -> Iterator[None]:
    """Delete the collections that a test has made."""
    before = _collections(service.url)
    yield
    for name in _collections(service.url) - before:
        httpx.delete(f"{service.url}/v1/collections/{name}")


@pytest.mark.usefixtures("collections", "keyed_run")
def test_the_running_service_answers_as_it_is_described(
    service: RunningService, tmp_path: Path
) -> None:
    done = _schemathesis(service.url, tmp_path, EXAMPLES, f"{PHASES},{LIMITS}")

    assert done.returncode == 0, done.stdout
    assert _cases(done.stdout) >= EXAMPLES * len(_operations(_description(service.url)))


def test_with_keys_it_answers_as_it_is_described(keyed_run: Run) -> None:
    done = keyed_run.result()

    assert done.returncode == 0, done.stdout


def test_every_route_but_those_for_probes_says_that_it_wants_a_key(keyed: str) -> None:
    """What says so, schemathesis tries without one."""
    description = _description(keyed, KEY)
    operations = _operations(description)
    unlocked = {
        (path, method) for path, method, operation in operations if not operation["security"]
    }

    assert unlocked == {(path, "get") for path in (*HEALTH_CHECKS, "/")}


UNSERVED = re.compile("no served model can compute|computes no sparse weights")
"""How examples of sparse weights and token vectors are refused by this service."""


@pytest.mark.usefixtures("collections")
def test_every_example_in_the_description_is_answered(service: RunningService) -> None:
    description = _description(service.url)
    refused = []
    with httpx.Client(base_url=service.url) as client:
        for path, method, operation in sorted(
            _operations(description),
            key=lambda found: ("search" in found[0], found[0].endswith("/points"), found[0]),
        ):
            for example in _examples(description, operation):
                address = re.sub(r"\{\w+\}", "example", path)
                answer = client.request(method, address, json=example)
                if not answer.is_success and not UNSERVED.search(answer.text):
                    refused.append((method, path, example, answer.text))

    assert refused == []


def _schemathesis(
    url: str, folder: Path, examples: int, phases: str, key: str | None = None
) -> subprocess.CompletedProcess[str]:
    schemathesis = Path(sys.executable).with_name("schemathesis")
    header = ["-H", f"Authorization: Bearer {key}"] if key else []
    command = [str(schemathesis), "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    choices = ["--checks", "all", "--max-examples", str(examples), "--phases", phases]
    return subprocess.run(
        [*command, *header, *choices],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def _cases(output: str) -> int:
    found = re.search(r"(\d+) generated", output)
    assert found is not None, output
    return int(found[1])


def _description(url: str, key: str = "none") -> Mapping[str, Any]:
    headers = {"authorization": f"Bearer {key}"}
    description: Mapping[str, Any] = httpx.get(f"{url}/openapi.json", headers=headers).json()
    return description


def _operations(description: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (path, method, operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]


def _examples(description: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Any]:
    """Return the examples of a body, of which every operation that takes one has some."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return []
    schema = content["schema"]
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    examples: list[Any] = schema.get("examples", [])
    assert examples, operation["operationId"]
    return examples


def _collections(url: str) -> set[str]:
    answer = httpx.get(f"{url}/v1/collections").json()
    return {one["name"] for one in answer["collections"]}

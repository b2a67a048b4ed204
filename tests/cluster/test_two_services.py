"""Two services on one machine: whichever process is killed, neither answers for the other.

Each kind of process is killed in each of them. Takes minutes: ``TEST_SERVICES=1`` runs it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from deployments.launch.services.instances import ServiceInstance, services
from tests.cluster.service import READY_S, RunningService

pytestmark = pytest.mark.skipif(
    "TEST_SERVICES" not in os.environ, reason="takes minutes; TEST_SERVICES=1 runs it"
)

KEY = "the-key-of-the-second-service"
WATCHED_S = 10.0
KINDS = (
    ("haproxy",),
    ("ray::HAProxyManager", "haproxy"),
    ("ray::ProxyActor",),
    ("ray::ServeController",),
    ("ray::ServeReplica:embedder:Ingress",),
    ("ray::ServeReplica:embedder:Ingress", "ray::ProxyActor"),
    ("ray::ServeReplica:embedder:Tokenizer",),
    ("ray::ServeReplica:embedder:Encoder",),
    ("ray::ServeReplica:embedder:EmbeddingCache-0",),
    ("ray::ServeReplica:embedder:VectorIndex-0",),
)
LAST = (("raylet",), ("gcs_server",), ("ray::DashboardAgent",))
"""What Ray does not start again: the service ends with it."""

Pair = tuple[RunningService, RunningService]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Yield a service without keys and one with a key, each with a collection of its own."""
    started: list[RunningService] = []
    try:
        for name, key in (("open", None), ("keyed", KEY)):
            started.append(RunningService(tmp_path_factory.mktemp(name), key))
            started[-1].wait()
            put = f"{started[-1].url}/v1/collections/{name}"
            httpx.put(put, json={}, headers=started[-1].headers, timeout=30).raise_for_status()
        yield started[0], started[1]
    finally:
        for one in started:
            one.stop()


def _shown(service: RunningService, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status of a service's answer about its collections; 0: no answer."""
    try:
        answer = httpx.get(f"{service.url}/v1/collections", headers=headers, timeout=5)
    except httpx.HTTPError:
        return 0, ""
    return answer.status_code, answer.text


def _foreign(pair: Pair) -> Iterator[str]:
    """Give each answer of a port that only the other service can have made."""
    without, keyed = pair
    for service, headers, own in (
        (without, {}, "open"),
        (without, keyed.headers, "open"),
        (keyed, keyed.headers, "keyed"),
    ):
        status, text = _shown(service, headers)
        if status == 200 and f'"{own}"' not in text:
            yield f"{own}: {text}"
    status, text = _shown(keyed, {})
    if status not in (0, 401) and status < 500:
        yield f"keyed, without a key: {status} {text}"


def _kill(service: RunningService, kinds: tuple[str, ...]) -> None:
    deadline = time.monotonic() + READY_S
    # All are found before any is killed, because some end with others.
    while not all(found := [service.titled(kind) for kind in kinds]):
        assert time.monotonic() < deadline, f"{kinds}: {found}"
        time.sleep(0.1)
    for pid in (pid for pids in found for pid in pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _until_both_answer(pair: Pair) -> None:
    deadline = time.monotonic() + READY_S
    while [_shown(one, one.headers)[0] for one in pair] != [200, 200]:
        assert time.monotonic() < deadline, "it has not come back"
        time.sleep(0.5)


def _watch(pair: Pair) -> list[str]:
    found: list[str] = []
    deadline = time.monotonic() + WATCHED_S
    while time.monotonic() < deadline:
        found += _foreign(pair)
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("which", [0, 1], ids=["open", "keyed"])
@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
def test_no_port_answers_for_the_other_service_when_a_process_is_killed(
    pair: Pair, kinds: tuple[str, ...], which: int
) -> None:
    _until_both_answer(pair)
    _kill(pair[which], kinds)

    assert _watch(pair) == []
    _until_both_answer(pair)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("embedder")), *arguments]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments", [["cache", "clear"], ["index", "delete", "open", "--yes"], ["deploy"], ["stop"]]
)
def test_a_command_does_nothing_until_a_service_is_chosen(pair: Pair, arguments: list[str]) -> None:
    done = _command(*arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    for service in pair:
        assert f"port {service.port}, data in {service.folder / 'data'}" in done.stderr
    assert "--port" in done.stderr


def test_a_command_reaches_the_chosen_service(pair: Pair) -> None:
    for service, name in zip(pair, ("open", "keyed"), strict=True):
        by_port = _command("index", "list", "--port", str(service.port))
        by_data = _command("index", "list", "--data-directory", str(service.folder / "data"))

        assert by_port.stdout.splitlines()[1].startswith(name), by_port.stderr
        assert by_data.stdout == by_port.stdout


def _of(service: RunningService) -> ServiceInstance:
    (found,) = [one for one in services() if one.port == service.port]
    return found


def test_a_killed_command_leaves_nothing_and_can_be_started_again(
    pair: Pair, tmp_path: Path
) -> None:
    without, keyed = pair
    service = RunningService(tmp_path)
    service.wait()
    mark = _of(service)
    service.kill()

    assert service.remaining(30.0) == []
    assert not Path(mark.folder).exists()
    again = RunningService(tmp_path)
    again.wait()
    again.stop()
    assert [_shown(one, one.headers)[0] for one in (without, keyed)] == [200, 200]


def test_a_killed_serve_run_ends_its_command_and_leaves_nothing(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    service.wait()
    mark = _of(service)
    (run,) = [
        pid
        for pid in service.processes()
        if b"ray.serve.scripts\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]

    assert service.kill_child(run) == 1
    assert service.remaining(30.0) == []
    assert not Path(mark.folder).exists()


def test_an_orphaned_service_is_reported_at_the_next_start_and_removed_by_stop(
    tmp_path: Path,
) -> None:
    service = RunningService(tmp_path)
    service.wait()
    mark = _of(service)
    (watcher,) = [
        pid
        for pid in service.processes()
        if b"deployments.launch.services.instances" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(watcher, signal.SIGKILL)
    service.kill()
    refused = _command("serve", str(tmp_path / "serve_config.yaml"), "--port", str(service.port))
    ended = _command("stop", "--port", str(service.port))

    assert refused.returncode == 1
    assert "left behind" in refused.stderr
    assert str(tmp_path / "data") in refused.stderr
    assert f"embedder stop --port {service.port}" in refused.stderr
    assert ended.returncode == 0, ended.stderr
    assert service.remaining(30.0) == []
    assert not Path(mark.folder).exists()


@pytest.mark.parametrize("kinds", LAST, ids="+".join)
def test_no_port_answers_for_the_other_service_when_ray_itself_is_killed(
    pair: Pair, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    """In a third service, since it ends with its Ray."""
    third = RunningService(tmp_path, KEY)
    third.wait()
    httpx.put(f"{third.url}/v1/collections/keyed", json={}, headers=third.headers, timeout=30)
    _kill(third, kinds)

    try:
        assert _watch((pair[0], third)) == []
    finally:
        third.kill()
    assert third.remaining(30.0) == []

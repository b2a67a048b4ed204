"""Two services on one machine: whichever process is killed, neither answers for the other.

Each kind of process is killed in each of them. Takes minutes: ``TEST_SERVICES=1`` runs it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from deployments.launch.services.instances import ServiceInstance, services
from tests.cluster.service import READY_S, RunningService
from tests.cluster.service_pair import KEY, TAKES_MINUTES, Pair, command

pytestmark = TAKES_MINUTES

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
    refused = command("serve", str(tmp_path / "serve_config.yaml"), "--port", str(service.port))
    ended = command("stop", "--address", str(service.port))

    assert refused.returncode == 1
    assert "left behind" in refused.stderr
    assert str(tmp_path / "data") in refused.stderr
    assert f"embedder stop --address {service.url}" in refused.stderr
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

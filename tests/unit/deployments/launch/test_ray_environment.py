"""The variables for Ray, of one service and on a cluster, as Ray reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import ray
from ray._private import node
from ray.serve._private import constants

from deployments.launch.haproxy import PROGRAM, REPLAYED, RETRY_VARIABLE
from deployments.launch.ray_environment import (
    COMMON,
    FAILOVER,
    LOGS,
    NODE_LOSS,
    THROUGHPUT,
    ray_environment,
)
from deployments.launch.services.instances import ServiceInstance

SCRIPT = f"""
variables=$({sys.executable} -m deployments.launch.ray_environment) && eval "$variables" && env -0
"""


def _set_by_a_shell(**stated: str) -> Mapping[str, str]:
    ours = {**COMMON, **THROUGHPUT, **NODE_LOSS}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        ["bash", "-c", SCRIPT], env={**inherited, **stated}, stdout=subprocess.PIPE, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


def test_a_node_of_a_cluster_gets_what_embedder_serve_gives_to_ray() -> None:
    ours = {**COMMON, **THROUGHPUT, **NODE_LOSS}

    assert ours.items() <= _set_by_a_shell().items()


def test_the_operators_variables_override_ours() -> None:
    value = "on 'my' \"$HOME\""
    variables = _set_by_a_shell(RAY_SERVE_ENABLE_HA_PROXY="0", RAY_AUTH_MODE=value)

    assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert variables["RAY_AUTH_MODE"] == value


def test_serve_knows_the_variables_of_failover_and_accepts_their_values() -> None:
    read = Path(constants.__file__).read_text()
    named = FAILOVER.keys() - {"SERVICE_PYTHON"}
    done = subprocess.run(
        [sys.executable, "-c", "import ray.serve._private.constants"],
        env={**os.environ, **FAILOVER},
        capture_output=True,
        text=True,
        check=False,
    )

    assert [name for name in named if f'"{name}"' not in read] == []
    assert PROGRAM.items() <= FAILOVER.items()
    assert done.returncode == 0, done.stderr


def test_a_vanished_node_is_lost_within_10_s() -> None:
    """Ray asks each node once a period, and gives it up after so many answers that do not come."""
    settings = {name.removeprefix("RAY_"): int(value) for name, value in NODE_LOSS.items()}
    period_ms, timeout_ms = settings["health_check_period_ms"], settings["health_check_timeout_ms"]
    checks = settings["health_check_failure_threshold"]

    assert all(hasattr(ray._config, name) for name in settings)
    assert checks * (period_ms + timeout_ms) < 10_000


def test_every_log_is_bounded_and_written_at_once() -> None:
    code = "from ray._private.node import Node; from ray.serve._private import constants as c"
    read = Path(constants.__file__).read_text() + Path(node.__file__).read_text()
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(c.RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE)"],
        env={**os.environ, **THROUGHPUT, **LOGS},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "1\n"
    assert [name for name in LOGS if f'"{name}"' not in read] == []
    assert int(LOGS["RAY_ROTATION_MAX_BYTES"]) * (1 + int(LOGS["RAY_ROTATION_BACKUP_COUNT"])) < 50e6
    assert LOGS.items() <= COMMON.items()


def _service(folder: Path) -> ServiceInstance:
    return ServiceInstance(9, None, os.getpid(), 0, str(folder), 20_000)


def test_the_operator_may_override_throughput_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _service(tmp_path)
    for name in THROUGHPUT:
        monkeypatch.delenv(name, raising=False)
    tuned = ray_environment(service, True, alone=True)
    plain = ray_environment(service, False, alone=True)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    chosen = ray_environment(service, True, alone=True)

    assert THROUGHPUT.items() <= tuned.items()
    assert not THROUGHPUT.keys() & plain.keys()
    assert chosen["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


@pytest.mark.parametrize("replays", [True, False])
def test_haproxy_repeats_requests_only_where_another_replica_may_answer(
    tmp_path: Path, replays: bool
) -> None:
    environment = ray_environment(_service(tmp_path), True, alone=True, replays=replays)

    assert (REPLAYED in environment[RETRY_VARIABLE]) == replays


def test_a_service_never_joins_the_ray_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would replace the application that is served by that Ray."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")

    assert "RAY_ADDRESS" not in ray_environment(_service(tmp_path), True, alone=True)


def test_no_file_of_ray_has_the_same_name_in_two_services(tmp_path: Path) -> None:
    folder = _service(tmp_path).folder
    environment = ray_environment(_service(tmp_path), True, alone=True)
    shared = {
        name: getattr(constants, name)
        for name in dir(constants)
        if name.isupper() and str(getattr(constants, name)).startswith("/tmp/")
    }

    assert len(shared) >= 4
    assert [name for name in shared if not environment.get(name, "").startswith(folder)] == []

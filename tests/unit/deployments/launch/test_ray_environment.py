"""The variables for Ray on a cluster, as a shell sets them and as Ray reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ray
from ray.serve._private import constants

from deployments.launch.haproxy import PROGRAM
from deployments.launch.ray_environment import COMMON, FAILOVER, NODE_LOSS, THROUGHPUT

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

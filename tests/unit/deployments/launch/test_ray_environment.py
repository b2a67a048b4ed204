"""The variables for Ray on a cluster, as a shell sets them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from deployments.launch.ray_environment import COMMON, THROUGHPUT

SCRIPT = f"""
variables=$({sys.executable} -m deployments.launch.ray_environment) && eval "$variables" && env -0
"""


def _set_by_a_shell(**stated: str) -> Mapping[str, str]:
    ours = {**COMMON, **THROUGHPUT}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        ["bash", "-c", SCRIPT], env={**inherited, **stated}, stdout=subprocess.PIPE, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


def test_a_node_of_a_cluster_gets_what_embedder_serve_gives_to_ray() -> None:
    assert ({**COMMON, **THROUGHPUT}).items() <= _set_by_a_shell().items()


def test_the_operators_variables_override_ours() -> None:
    value = "on 'my' \"$HOME\""
    variables = _set_by_a_shell(RAY_SERVE_ENABLE_HA_PROXY="0", RAY_AUTH_MODE=value)

    assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert variables["RAY_AUTH_MODE"] == value

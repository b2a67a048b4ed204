"""The environment that Ray must have before it starts: how fast, on which ports, with which files.

Nothing in it is the same for two services of a machine but the operator's own variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deployments.launch.ports import ray_ports
from deployments.launch.services import MARK_VARIABLE, ServiceInstance
from deployments.rpc import message_size

THROUGHPUT = {
    message_size.LIMIT_VARIABLE: str(message_size.CONFIGURED_BYTES),
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # The line above takes the loop of the caller, and tasks, jobs and most actors have none.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
}
"""What makes Serve answer six times the requests of its defaults; Ray reads it as it starts."""

PROXY_CALLBACK = "deployments.ingress.middleware.upgrades:decline_upgrades"
"""The function that Ray calls in each of its HTTP proxies before the proxy's server starts."""


def ray_environment(service: ServiceInstance, tuned: bool, *, alone: bool) -> Mapping[str, str]:
    """Return the child's environment; what the operator has set is left as it is."""
    folder = Path(service.folder)
    defaults = {
        # HAProxy's files have fixed names otherwise, and two services would share them.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # A replica that stops listens on for load balancers elsewhere to notice; here is none.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        **ray_ports(service.block, alone=alone),
        "RAY_AUTH_MODE": "token",
        # Ray's proxies run none of our code, and lose the bodies of requests that offer HTTP/2.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": PROXY_CALLBACK,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
        **(THROUGHPUT if tuned else {}),
    }
    environment = {**defaults, **os.environ, MARK_VARIABLE: service.mark}
    # It names the Ray of a service that runs: this one would take its place there.
    environment.pop("RAY_ADDRESS", None)
    return environment

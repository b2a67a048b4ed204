"""The environment variables that Ray must have before it starts: modes, ports and files.

Two services of a machine share none of its ports and files. On a cluster, Ray is started on each
machine, which serves this service alone: ``eval "$(python -m deployments.launch.ray_environment)"``
sets there what `cluster_environment` returns.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.launch.haproxy import ADDRESSES_VARIABLE, PROGRAM, REPLAYED, RETRY_VARIABLE
from deployments.launch.ports import ray_ports
from deployments.launch.services.instances import MARK_VARIABLE, ServiceInstance
from deployments.launch.tls.certificate import NO_TLS, Certificate
from deployments.logs.output_log import HAPROXY_SOCKET, ROTATION
from deployments.rpc import message_size

THROUGHPUT = {
    message_size.LIMIT_VARIABLE: str(message_size.CONFIGURED_BYTES),
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # The mode above would use the caller's event loop; tasks, jobs and most actors have none.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
}
"""With these variables Serve answers six times the requests of its defaults."""

FAILOVER = {
    **PROGRAM,
    # If an ingress replica dies, HAProxy sends its unanswered requests to another one, up to the
    # size that it keeps (RAY_SERVE_HAPROXY_TUNE_BUFSIZE). Every route is safe to repeat.
    RETRY_VARIABLE: f"conn-failure {REPLAYED}",
    "RAY_SERVE_HAPROXY_RETRIES": "5",
    # A hung ingress replica gets no more requests after three checks without an answer, within 7 s.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1500ms",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": "3",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "2",
    # Serve replaces a HAProxy after three failed checks.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    # A hung replica cannot stop by itself. Its calls fail over when it is killed.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
}
"""With these variables Serve notices a lost process within seconds, and no small request is lost
with it."""

NODE_LOSS = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""With these variables, which the head of a cluster reads, a node counts as lost after at most 9 s
without an answer. A service on one node does without, because it ends with its only node."""

PROXY_CALLBACK = "deployments.ingress.middleware.upgrades:decline_upgrades"
"""The function that Ray calls in each of its HTTP proxies before the proxy's server starts."""

LOGS = {
    **ROTATION,
    # In throughput mode a process would keep its last 1,000 records in memory until an error comes.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
}
"""With these variables every log is bounded, and written at once."""

COMMON = {
    "RAY_AUTH_MODE": "token",
    # Without it Ray's proxies lose the bodies of requests that offer HTTP/2.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": PROXY_CALLBACK,
    "RAY_USAGE_STATS_ENABLED": "0",
    # The name of the service in traces.
    "OTEL_SERVICE_NAME": "embedder",
    **FAILOVER,
    **LOGS,
}
"""The variables of every Ray of this service."""


def cluster_environment() -> Mapping[str, str]:
    """Return the variables for `ray start` on each node; the operator's override ours."""
    ours = {**COMMON, **THROUGHPUT, **NODE_LOSS}
    return {name: os.environ.get(name, value) for name, value in ours.items()}


def ray_environment(
    service: ServiceInstance,
    tuned: bool,
    *,
    alone: bool,
    replays: bool = True,
    addresses: Sequence[str] = (),
    certificate: Certificate | None = None,
) -> Mapping[str, str]:
    """Return the environment of the child process; the operator's variables override ours.

    Without ``replays`` HAProxy repeats no request, for a service with only one ingress replica. It
    listens on ``addresses``, by TLS where there is a ``certificate``.
    """
    defaults = {
        **_haproxy_files(Path(service.folder)),
        # A stopping replica keeps listening for external load balancers to notice; there are none.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        **ray_ports(service.block, alone=alone),
        **COMMON,
        **({} if replays else {RETRY_VARIABLE: "conn-failure"}),
        "PYTHONUNBUFFERED": "1",
        **(THROUGHPUT if tuned else {}),
    }
    own = {
        MARK_VARIABLE: service.mark,
        ADDRESSES_VARIABLE: ",".join(addresses),
        # Empty ones replace those of a cluster's nodes, which this service's URL would not show.
        **(NO_TLS if certificate is None else certificate.variables),
    }
    environment = {**defaults, **os.environ, **own}
    # It names the Ray of a running service, which this service would replace.
    environment.pop("RAY_ADDRESS", None)
    return environment


def _haproxy_files(folder: Path) -> dict[str, str]:
    return {
        # By default HAProxy's files have fixed names, which two services would share.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # By default its messages go to port 514 of this machine, where usually no process listens.
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(folder / HAPROXY_SOCKET),
    }


if __name__ == "__main__":
    sys.stdout.writelines(
        f"export {variable}={shlex.quote(value)}\n"
        for variable, value in cluster_environment().items()
    )

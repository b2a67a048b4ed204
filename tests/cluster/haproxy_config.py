"""The configuration of a HAProxy before servers that stand for ingress replicas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from deployments.launch.ray_environment import FAILOVER
from tests.ports import free_port


def configure(
    folder: Path, options: HTTPOptions, statistics: int, servers: Sequence[tuple[str, int]]
) -> None:
    """Write ``haproxy.cfg`` as Ray would with our variables.

    ``servers`` are hosts and ports, ``statistics`` is the port of HAProxy's statistics.
    """
    config = HAProxyConfig(
        http_options=options,
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_socket_path=str(folder / "metrics.sock"),
        metrics_port=free_port(),
        stats_port=statistics,
        retry_on=FAILOVER["RAY_SERVE_HAPROXY_RETRY_ON"],
        retries=int(FAILOVER["RAY_SERVE_HAPROXY_RETRIES"]),
        timeout_connect_s=int(FAILOVER["RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S"]),
        health_check_inter=FAILOVER["RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER"],
        health_check_fall=int(FAILOVER["RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL"]),
    )
    api = HAProxyApi(cfg=config, config_file_path=str(folder / "haproxy.cfg"))
    named = [ServerConfig(f"server-{port}", host, port) for host, port in servers]
    backend = BackendConfig(name="http-embedder", path_prefix="/", servers=named)
    api.set_backend_configs({backend.name: backend})
    api._generate_config_file_internal()

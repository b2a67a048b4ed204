"""A program that keeps a Ray of several nodes on one machine, by `ray.cluster_utils.Cluster`.

It prints where Ray's dashboard listens, and the id and the port of each worker by its name; then it
removes each worker that a line of its input names, and prints the name. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ray.cluster_utils import Cluster

from tests.cluster.service import free_port

NODES: dict[str, dict[str, Any]] = {
    "data": {"num_cpus": 8, "resources": {"data": 1}},
    "cpu": {"num_cpus": 8},
    "gpu": {"num_cpus": 4, "num_gpus": 1},
}
"""The workers; Ray counts a GPU that computes nothing."""


def main() -> None:
    """Run the cluster until the input ends."""
    options = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": int(sys.argv[1])}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        ports = {name: free_port() for name in NODES}
        nodes = {
            name: cluster.add_node(**node, env_vars=_own_ports(ports[name]), wait=False)
            for name, node in NODES.items()
        }
        cluster.wait_for_nodes(timeout=120)
        ids = {name: node.node_id for name, node in nodes.items()}
        _say(json.dumps({"dashboard": cluster.webui_url, "nodes": ids, "ports": ports}))
        for line in sys.stdin:
            name = line.strip()
            cluster.remove_node(nodes[name], allow_graceful=False)
            _say(name)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _own_ports(port: int) -> dict[str, str]:
    """Return the variables for a HAProxy beside others on this machine."""
    return {
        "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

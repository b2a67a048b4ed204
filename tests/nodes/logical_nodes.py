"""A program that keeps a Ray of several nodes on one machine, by `ray.cluster_utils.Cluster`.

It starts the workers that its arguments name. It prints where Ray's dashboard listens, and the id
and the port of each worker by its name. Then it removes each worker that a line of its input names,
or adds it if it does not run, and prints its id. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ray.cluster_utils import Cluster

from tests.ports import free_port

NODES: dict[str, dict[str, Any]] = {
    "data": {"num_cpus": 8, "resources": {"data": 1}},
    "cpu": {"num_cpus": 8},
    "gpu": {"num_cpus": 4, "num_gpus": 1},
}
"""The workers; Ray counts a GPU that computes nothing."""

FOLDER_VARIABLE = "NODES_FOLDER"
"""Names the folder below which each node has one for data."""

STARTED_S = 120


def main() -> None:
    """Run the cluster until the input ends."""
    options = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": int(sys.argv[1])}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        ports = {name: free_port() for name in sys.argv[2:]}
        nodes = {name: _add(cluster, name, port) for name, port in ports.items()}
        cluster.wait_for_nodes(timeout=STARTED_S)
        ids = {name: node.node_id for name, node in nodes.items()}
        _say(json.dumps({"dashboard": cluster.webui_url, "nodes": ids, "ports": ports}))
        for line in sys.stdin:
            name = line.strip()
            if name in nodes:
                node = nodes.pop(name)
                cluster.remove_node(node, allow_graceful=False)
            else:
                node = nodes[name] = _add(cluster, name, free_port())
                cluster.wait_for_nodes(timeout=STARTED_S)
            _say(node.node_id)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _add(cluster: Cluster, name: str, port: int) -> Any:
    own = {**_own_ports(port), "XDG_DATA_HOME": f"{os.environ[FOLDER_VARIABLE]}/{name}"}
    return cluster.add_node(**NODES[name], env_vars=own, wait=False)


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

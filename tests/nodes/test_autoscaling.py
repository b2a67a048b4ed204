"""Ray's autoscaler adds a node for a pool of encoders; by `ray.cluster_utils.AutoscalingCluster`.

It stops every Ray that it sees before it starts its own, so it runs on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.nodes import service_file
from tests.nodes.machines import problem, started
from tests.nodes.shipped import ShippedCluster
from tests.nodes.waiting import is_ready, wait_for

START = (
    'export PATH=~/embedder/.venv/bin:"$PATH"; cd embedder; '
    "variables=$(python -m deployments.launch.ray_environment) && "
    'eval "$variables" && python tests/nodes/autoscaling_nodes.py'
)
ADDED_S = 120.0
"""Seconds until the node has been added and its encoder has loaded the model."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedCluster]:
    """Yield a service whose pool on GPUs wants one replica, while no node has a GPU."""
    if (why := problem()) is not None:
        pytest.skip(why)
    with started(["head"], tmp_path_factory.mktemp("autoscaling")) as machines:
        cluster = ShippedCluster(machines)
        cpu, gpu = service_file.arguments()["encoder"]["pools"]
        pools = [{**cpu, "min_replicas": 1}, {**gpu, "min_replicas": 1}]
        # The GPU is a number in Ray's books, which computes nothing.
        cluster.install(encoder={"pools": pools}, backend={"device": "cpu"})
        # The HAProxy of each node listens on the same port of this machine.
        cluster.run("head", START, {"SERVE_SOCKET_REUSE_PORT_ENABLED": "1"})
        cluster.deploy()
        wait_for("the service is ready", partial(is_ready, cluster.url("head", "")))
        yield cluster


def test_a_pool_is_used_when_its_node_appears(cluster: ShippedCluster) -> None:
    """And until then the others serve."""
    assert cluster.embed("head", "before").status_code == 200
    wait_for("an encoder on a GPU", lambda: cluster.names("Encoder-gpu") != [], ADDED_S)
    assert cluster.embed("head", "after").status_code == 200

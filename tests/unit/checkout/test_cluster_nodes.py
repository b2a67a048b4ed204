"""Which node Ray's autoscaler adds to the cluster of cluster.yaml for a waiting replica."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)

ROOT = Path(__file__).parents[3]
SCORER = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
STARTED = {"head": 1, "data_worker": 1, "cpu_worker": 1}


@pytest.mark.parametrize(
    ("existing", "replica", "added"),
    [
        (STARTED, {"CPU": 1, "GPU": 1}, {"gpu_worker": 1}),
        (STARTED, {"CPU": 1}, {"cpu_worker": 1}),
        (STARTED | {"gpu_worker": 2}, {"CPU": 1, "GPU": 1}, {}),
        ({"head": 1}, {"CPU": 0.1, "data": 0.1}, {"data_worker": 1}),
        (STARTED, {"CPU": 0.1, "data": 0.1}, {}),
    ],
)
def test_a_waiting_replica_gets_a_node_of_its_kind(
    existing: dict[str, int], replica: dict[str, Any], added: dict[str, int]
) -> None:
    """But never a second node with data, whose disk would be empty."""
    cluster: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types, head = cluster["available_node_types"], cluster["head_node_type"]
    found, _ = get_nodes_for(types, existing, head, cluster["max_workers"], [replica], SCORER)

    assert dict(found) == added

"""The nodes of cluster.yaml as groups of pods, and the Serve configuration that runs on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    """The size of a machine in the cloud."""

    cpus: int
    memory_gib: int


MACHINES = {
    "m7i.large": Machine(cpus=2, memory_gib=8),
    "c7i.2xlarge": Machine(cpus=8, memory_gib=16),
    "g6.xlarge": Machine(cpus=4, memory_gib=16),
}
"""The machines of cluster.yaml. A pod is made to fill one."""


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Equal nodes: the resources of Ray on each, the machine, and how many there may be."""

    name: str
    resources: Mapping[str, int]
    machine: Machine
    minimum: int
    maximum: int

    @property
    def gpus(self) -> int:
        """Return the number of GPUs of one node."""
        return self.resources.get("GPU", 0)

    @property
    def has_data(self) -> bool:
        """Return whether the files of the index and the cache are on this node."""
        return "data" in self.resources


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster file of the repository, and the Serve configuration that is deployed to it."""

    head: NodeGroup
    workers: tuple[NodeGroup, ...]
    idle_timeout_s: int
    serve_config: str

    @property
    def has_files(self) -> bool:
        """Return whether the index is in files of one node, and not in a database."""
        return any(group.has_data for group in self.workers)


def read_cluster(cluster_file: str, serve_file: str) -> Cluster:
    """Return the cluster that two files of the repository describe.

    Raises:
        KeyError: `MACHINES` lacks an instance type of the cluster file.
    """
    document = yaml.safe_load((ROOT / cluster_file).read_text())
    groups = {
        name: _group(name, node_type)
        for name, node_type in document["available_node_types"].items()
    }
    head = groups.pop(document["head_node_type"])
    return Cluster(
        head,
        tuple(groups.values()),
        document["idle_timeout_minutes"] * 60,
        (ROOT / serve_file).read_text(),
    )


def ray_version() -> str:
    """Return the version of Ray that constraints.txt pins."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.removeprefix("ray==") for line in lines if line.startswith("ray=="))


def _group(name: str, node_type: Mapping[str, Any]) -> NodeGroup:
    return NodeGroup(
        # The name is a part of the names of pods, which have no underscore.
        name.replace("_", "-"),
        node_type["resources"],
        MACHINES[node_type["node_config"]["InstanceType"]],
        node_type["min_workers"],
        node_type["max_workers"],
    )

"""How many nodes the replicas of a service take, and which resource decides that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from embedder.core.errors import InvalidInput
from embedder.planning.goal import GB, show

Resources = Mapping[str, float]
"""Amounts by name: ``cpus`` in cores, ``gpus``, ``memory_gb`` in units of 10^9 bytes."""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """The resources of one node, and its price in any currency; None leaves the cost out.

    Raises:
        InvalidInput: a number is negative, or there are no cores or no memory.
    """

    cpus: float
    memory_gb: float
    gpus: float = 0
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("node_cpus", self.cpus), ("node_memory_gb", self.memory_gb)):
            if not value > 0:
                raise InvalidInput(name, f"is {value}; it must be above 0")
        price = 0.0 if self.price_per_hour is None else self.price_per_hour
        for name, value in (("node_gpus", self.gpus), ("price_per_hour", price)):
            if not value >= 0:
                raise InvalidInput(name, f"is {value}; it must be at least 0")

    @property
    def offers(self) -> Resources:
        """Return the resources by name."""
        return {"cpus": self.cpus, "gpus": self.gpus, "memory_gb": self.memory_gb}


@dataclass(frozen=True, slots=True)
class StageLoad:
    """The replicas of one stage, and the resources that each takes of a node."""

    replicas: int
    cpus: float
    memory_bytes: float
    gpus: float = 0.0


def taken(stages: tuple[StageLoad, ...], each_node: Resources, nodes: int) -> dict[str, float]:
    """Return the resources taken on the fullest of ``nodes`` with evenly spread replicas.

    ``each_node`` has the resources that other processes take on every node.
    """
    counts = [(ceil(stage.replicas / nodes), stage) for stage in stages]
    memory_gb = sum(count * stage.memory_bytes for count, stage in counts) / GB
    return {
        "cpus": each_node["cpus"] + sum(count * stage.cpus for count, stage in counts),
        "gpus": sum(count * stage.gpus for count, stage in counts),
        "memory_gb": each_node["memory_gb"] + memory_gb,
    }


def nodes_for(stages: tuple[StageLoad, ...], each_node: Resources, shape: NodeShape) -> int:
    """Return the fewest nodes that hold the stages.

    Raises:
        InvalidInput: a node is too small for one replica of each stage that has to be there.
    """

    def lacking(nodes: int) -> list[str]:
        held = taken(stages, each_node, nodes)
        return [name for name, offer in shape.offers.items() if held[name] > offer + 1e-9]

    most = max(stage.replicas for stage in stages)
    if too_small := lacking(most):
        name, needed = too_small[0], taken(stages, each_node, most)[too_small[0]]
        raise InvalidInput(
            f"node_{name}",
            f"is {show(shape.offers[name])}; one replica of each stage takes {show(needed)}",
        )
    return smallest(lambda nodes: not lacking(nodes), 1)


def smallest(allowed: Callable[[int], bool], least: int) -> int:
    """Return the smallest integer from ``least`` on that is allowed, if all larger ones are too."""
    step, most = 1, least
    while not allowed(most):
        least, most, step = most + 1, most + step, 2 * step
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if allowed(middle) else (middle + 1, most)
    return most

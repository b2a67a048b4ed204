"""Where an index in SQLite files may run: on a machine that a restarted replica comes back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedder.core.errors import ConfigurationError

REMEDY = (
    "require a resource that one node alone has (vector_index: resources: {data: 0.1}; "
    "serve_cluster.yaml does so, and cluster.yaml gives it to one node), or keep the points in "
    "PostgreSQL (index.url, as in serve_cluster_postgres.yaml)"
)


def check_pinned(
    nodes: Sequence[Mapping[str, Any]], resources: Mapping[str, float], labels: Mapping[str, str]
) -> None:
    """Check that no more than one machine can run the replicas of an index in files.

    ``nodes`` are as `ray.nodes` returns them. The index needs a node with these custom
    ``resources`` and ``labels``. Logical nodes on one machine share its disk. A cluster without
    CPUs waits for machines to join.

    Raises:
        ConfigurationError: the cluster has several machines, and more than one is eligible.
    """
    machines = {node["NodeManagerAddress"] for node in nodes}
    waits = not any(node["Resources"].get("CPU") for node in nodes)
    if len(machines) == 1 and not waits:
        return
    eligible = machines
    if resources or labels:
        eligible = set(_eligible(nodes, resources, labels))
        if len(eligible) <= 1:
            return
    raise ConfigurationError(
        "the index is in SQLite files on the disk of one machine, and its replica may start again "
        f"on another one without them ({', '.join(sorted(eligible))}): {REMEDY}"
    )


def _eligible(
    nodes: Sequence[Mapping[str, Any]], resources: Mapping[str, float], labels: Mapping[str, str]
) -> Iterator[str]:
    """Yield the address of each node that has the resources and the labels.

    A label with an operator of Ray (``!`` or ``in(…)``) counts as one that every node has.
    """
    plain = {name: value for name, value in labels.items() if not set("!(") & set(value)}
    for node in nodes:
        has_labels = plain.items() <= dict(node.get("Labels") or {}).items()
        if has_labels and all(node["Resources"].get(name) for name in resources):
            yield node["NodeManagerAddress"]

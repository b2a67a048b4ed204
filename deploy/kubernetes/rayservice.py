"""The RayService of a cluster: what KubeRay needs to start the nodes and to deploy the service."""

from __future__ import annotations

from typing import Any

from deploy.kubernetes.pods import (
    OBJECT_STORE_BYTES,
    TEMPORARY,
    Object,
    container_security,
    head_template,
    worker_template,
)
from deploy.kubernetes.sources import Cluster, NodeGroup, ray_version

NAME = "embedder"

DATABASE = [
    {
        "name": "EMBEDDER_INDEX__URL",
        "valueFrom": {"secretKeyRef": {"name": "embedder-database", "key": "uri"}},
    }
]
"""The database of the index. The variable has priority over ``index.url`` of the configuration."""

VALKEY = {
    "redisAddress": "embedder-valkey:6379",
    "redisPassword": {
        "valueFrom": {"secretKeyRef": {"name": "embedder-valkey", "key": "password"}}
    },
}
"""Where the head keeps its state, with which a new head takes over the running workers."""


def rayservice(cluster: Cluster, *, gpus: bool = False) -> Object:
    """Return the RayService; ``gpus`` includes the groups that have GPUs."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME},
        "spec": {
            "serveConfigV2": cluster.serve_config,
            # A second cluster of nodes would need the files of the first one.
            "upgradeStrategy": {"type": "None" if cluster.has_files else "NewCluster"},
            "excludeHeadPodFromServeSvc": True,
            "rayClusterConfig": _ray_cluster(cluster, gpus=gpus),
        },
    }


def gpu_patch(cluster: Cluster) -> list[Object]:
    """Return the patch (RFC 6902) of a RayService that adds the groups that have GPUs."""
    path = "/spec/rayClusterConfig/workerGroupSpecs/-"
    return [
        {"op": "add", "path": path, "value": _worker_group(group, _environment(cluster))}
        for group in cluster.workers
        if group.gpus
    ]


def _ray_cluster(cluster: Cluster, *, gpus: bool) -> Object:
    environment = _environment(cluster)
    fault_tolerance = {} if cluster.has_files else {"gcsFaultToleranceOptions": VALKEY}
    return {
        "rayVersion": ray_version(),
        "authOptions": {"mode": "token", "secretName": "embedder-ray-token"},
        **fault_tolerance,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "idleTimeoutSeconds": cluster.idle_timeout_s,
            "resources": _equal_resources("500m", "1Gi"),
            "securityContext": container_security(),
            "volumeMounts": [{"name": "tmp", "mountPath": TEMPORARY}],
        },
        "headGroupSpec": {
            **_ray_node(cluster.head),
            "template": head_template(cluster.head, environment),
        },
        "workerGroupSpecs": [
            _worker_group(group, environment) for group in cluster.workers if gpus or not group.gpus
        ],
    }


def _worker_group(group: NodeGroup, environment: list[Object]) -> Object:
    return {
        "groupName": group.name,
        "replicas": group.minimum,
        "minReplicas": group.minimum,
        "maxReplicas": group.maximum,
        **_ray_node(group),
        "template": worker_template(group, environment),
    }


def _ray_node(group: NodeGroup) -> Object:
    return {
        "resources": {name: str(amount) for name, amount in group.resources.items()},
        "rayStartParams": {"object-store-memory": str(OBJECT_STORE_BYTES)},
    }


def _environment(cluster: Cluster) -> list[dict[str, Any]]:
    return [] if cluster.has_files else DATABASE


def _equal_resources(cpu: str, memory: str) -> Object:
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": amounts, "limits": amounts}

"""The pods of the service: one container with a node of Ray, which needs no privilege.

A pod fills a machine, as a node of cluster.yaml does, and leaves the rest to the system.
"""

from __future__ import annotations

from typing import Any

from deploy.kubernetes.sources import NodeGroup

Object = dict[str, Any]

INSTANCE = {"app.kubernetes.io/instance": "embedder"}
"""The label of all pods of the service, which policies and budgets select."""

IMAGE, CUDA_IMAGE = "embedder", "embedder-cuda"
"""The names that `images` of a kustomization replaces by those of a registry."""

USER = 10001
"""The user of the image, which writes to `DATA`, `MODELS` and `TEMPORARY` only."""

DATA, MODELS, KEYS, TEMPORARY = "/data", "/models", "/etc/embedder/keys", "/tmp"  # noqa: S108
KEYS_VARIABLE = "EMBEDDER_KEYS_FILE"

SERVE_PORT, METRICS_PORT, AGENT_PORT = 8000, 8080, 52365
HEAD_PORTS = {
    "gcs": 6379,
    "dashboard": 8265,
    "serve": SERVE_PORT,
    "metrics": METRICS_PORT,
    "as-metrics": 44217,
    "dash-metrics": 44227,
}
WORKER_PORTS = {"serve": SERVE_PORT, "metrics": METRICS_PORT}

SHARED_MEMORY_GIB = 2
OBJECT_STORE_BYTES = SHARED_MEMORY_GIB * 2**30 - 2**28
"""Ray's object store, which carries large messages only; its files are in shared memory."""

SYSTEM_CPUS, SYSTEM_GIB = 1, 3
"""What a pod leaves on its machine for Kubernetes and the agents of other systems."""

DRAIN_S, STOP_S = 60, 60
"""Seconds that Serve has for moving the replicas, and that remain for starting `ray drain-node` on
a busy machine and for ending Ray's processes."""

SET_ENVIRONMENT = (
    'variables=$(python -m deployments.launch.ray_environment) || exit 1; eval "$variables"'
)
"""KubeRay runs this in the shell that then starts Ray, as cluster.yaml does. Kubernetes replaces
``$(NAME)`` by a variable of the container, and leaves the rest as it is."""

_DRAIN = (
    f"ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'the pod stops'"
    f" --deadline-remaining-seconds {DRAIN_S} && sleep {DRAIN_S}; ray stop"
)


def head_template(group: NodeGroup, environment: list[Object]) -> Object:
    """Return the template of the head's pod, which has no replica.

    ``environment`` has variables beyond those of every service.
    """
    container = _container(group, environment, HEAD_PORTS, stop="ray stop")
    # Not of the service: KubeRay deploys it to a head that is ready.
    return _template(group, {"name": "ray-head", **container, "readinessProbe": _raylet(5, 3)})


def worker_template(group: NodeGroup, environment: list[Object]) -> Object:
    """Return the template of the pods of a group of workers.

    ``environment`` has variables beyond those of every service.
    """
    container = _container(group, environment, WORKER_PORTS, stop=_DRAIN)
    # HAProxy of this pod reaches an Ingress on some pod. The ingress waits up to 5 s for a stage.
    ready = {"httpGet": {"path": "/readyz", "port": "serve"}, "periodSeconds": 5}
    ready |= {"timeoutSeconds": 6, "failureThreshold": 3}
    return _template(
        group,
        {"name": "ray-worker", **container, "readinessProbe": ready},
        automountServiceAccountToken=False,
        topologySpreadConstraints=[
            _spread("kubernetes.io/hostname"),
            _spread("topology.kubernetes.io/zone"),
        ],
        **_tolerations(group),
    )


def _template(group: NodeGroup, container: Object, **pod: Any) -> Object:
    return {
        "metadata": {"labels": INSTANCE},
        "spec": {
            **pod,
            "terminationGracePeriodSeconds": DRAIN_S + STOP_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                # Otherwise each start of a pod changes the mode of every stored file.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": _volumes(group),
        },
    }


def _container(
    group: NodeGroup, environment: list[Object], ports: dict[str, int], *, stop: str
) -> Object:
    return {
        "image": CUDA_IMAGE if group.gpus else IMAGE,
        "args": [SET_ENVIRONMENT],
        "env": [
            {"name": KEYS_VARIABLE, "value": f"{KEYS}/keys.yaml"},
            # Without it Ray reports an empty disk in a pod, and the alert DiskFills never fires.
            {"name": "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "value": "1"},
            *environment,
        ],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": _resources(group),
        "securityContext": container_security(),
        "startupProbe": _raylet(5, 60),
        "livenessProbe": _raylet(10, 12),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", stop]}}},
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "models", "mountPath": MODELS},
            {"name": "keys", "mountPath": KEYS, "readOnly": True},
            {"name": "tmp", "mountPath": TEMPORARY},
            {"name": "shared-mem", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def container_security() -> Object:
    """Return the security context of each container, which Kubernetes calls restricted."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _resources(group: NodeGroup) -> Object:
    """Return what a pod requests, and its limits: it may use the CPUs that the system leaves."""
    gpus = {"nvidia.com/gpu": str(group.gpus)} if group.gpus else {}
    memory = f"{group.machine.memory_gib - SYSTEM_GIB}Gi"
    return {
        "requests": {
            "cpu": str(group.machine.cpus - SYSTEM_CPUS),
            "memory": memory,
            "ephemeral-storage": "10Gi",
            **gpus,
        },
        "limits": {"cpu": str(group.machine.cpus), "memory": memory, **gpus},
    }


def _volumes(group: NodeGroup) -> list[Object]:
    claim = {"persistentVolumeClaim": {"claimName": "embedder-data"}}
    return [
        {"name": "data", **(claim if group.has_data else _scratch("20Gi"))},
        {"name": "models", **_scratch("20Gi")},
        {"name": "keys", "secret": {"secretName": "embedder-keys", "defaultMode": 0o440}},
        # Ray's logs and sockets, and those of HAProxy.
        {"name": "tmp", **_scratch("10Gi")},
        {
            "name": "shared-mem",
            "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHARED_MEMORY_GIB}Gi"},
        },
    ]


def _scratch(size: str) -> Object:
    return {"emptyDir": {"sizeLimit": size}}


def _raylet(period_s: int, failures: int) -> Object:
    """Return a probe of Ray's node, and on the head of its control store; it needs no token."""
    return {
        "httpGet": {"path": "/api/healthz", "port": AGENT_PORT},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _spread(topology: str) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {**INSTANCE, "ray.io/node-type": "worker"}},
    }


def _tolerations(group: NodeGroup) -> Object:
    """Return the tolerations for nodes with GPUs; a pod's request for a GPU selects them."""
    if not group.gpus:
        return {}
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    return {"tolerations": [gpu]}

"""The groups of pods are the nodes of cluster.yaml, for Ray's autoscaler and for the service."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

from deploy.kubernetes.manifests import SOURCES
from deploy.kubernetes.sources import ROOT
from deployments.ingress.asgi import ROUTES
from deployments.launch.ray_environment import cluster_environment
from deployments.settings.service import ServeSettings
from embedder.settings.sources import load
from tests.unit.checkout.kubernetes.variants import (
    VARIANTS,
    Object,
    ray_cluster,
    ray_groups,
    variant,
)

DRAIN_START_S, STOP_S = 31, 16
"""Seconds that `ray drain-node` took on an overloaded machine, and that `ray stop` waits."""

SCORER = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))


def _autoscaling(name: str) -> dict[str, Any]:
    """Return what Ray's autoscaler makes of the resource in the cluster."""
    metadata = {"name": "embedder", "namespace": "default"}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": ray_cluster(name)}
    )
    return config


@pytest.mark.parametrize(("name", "source"), [("gpu", "cpu"), ("postgres-gpu", "postgres")])
def test_the_autoscaler_knows_the_nodes_of_the_cluster_file(name: str, source: str) -> None:
    cluster: Any = yaml.safe_load((ROOT / SOURCES[source][0]).read_text())
    config = _autoscaling(name)
    found = config["available_node_types"]
    expected = cluster["available_node_types"]
    for kind, group in expected.items():
        node_type = found["headgroup" if kind == "head" else kind.replace("_", "-")]
        resources = {key: node_type["resources"][key] for key in group["resources"]}
        assert resources == group["resources"]
        assert node_type["min_workers"] == group["min_workers"]
        assert node_type["max_workers"] == group["max_workers"]

    assert len(found) == len(expected)
    assert config["max_workers"] == cluster["max_workers"]
    assert config["idle_timeout_minutes"] == cluster["idle_timeout_minutes"]


@pytest.mark.parametrize("name", ["cpu", "postgres"])
def test_a_variant_without_gpus_lacks_their_group_alone(name: str) -> None:
    with_gpus = "gpu" if name == "cpu" else f"{name}-gpu"
    *others, gpu = ray_groups(with_gpus)

    assert others == ray_groups(name)
    assert gpu["groupName"] == "gpu-worker"
    assert variant(name).keys() == variant(with_gpus).keys()


@pytest.mark.parametrize(
    ("replica", "added"),
    [
        ({"CPU": 1, "GPU": 1}, {"gpu-worker": 1}),
        ({"CPU": 8}, {"cpu-worker": 1}),
        ({"CPU": 0.1, "data": 0.1}, {"data-worker": 1}),
    ],
)
def test_a_waiting_replica_gets_a_pod_of_its_kind(
    replica: dict[str, Any], added: dict[str, int]
) -> None:
    config = _autoscaling("gpu")
    types, limit = config["available_node_types"], config["max_workers"]
    found, _ = get_nodes_for(types, {"headgroup": 1}, "headgroup", limit, [replica], SCORER)

    assert dict(found) == added


@pytest.mark.parametrize("name", VARIANTS)
def test_a_pod_fits_its_machine_and_offers_what_it_may_use(name: str) -> None:
    """More memory than the limit would be taken from the pod; Kubernetes ends it then."""
    for group in ray_groups(name):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        cpus = int(group["resources"]["CPU"])
        assert int(resources["requests"]["cpu"]) < int(resources["limits"]["cpu"])
        assert cpus in (0, int(resources["limits"]["cpu"]))
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        gpus = resources["limits"].get("nvidia.com/gpu", "0")
        assert gpus == group["resources"].get("GPU", "0")


def _probes(container: Object) -> list[tuple[str, int | str]]:
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    actions = [container[kind]["httpGet"] for kind in kinds]
    return [(action["path"], action["port"]) for action in actions]


@pytest.mark.parametrize("name", VARIANTS)
def test_probes_ask_ray_and_the_readiness_of_a_worker_is_that_of_the_service(name: str) -> None:
    head, *workers = (group["template"]["spec"]["containers"][0] for group in ray_groups(name))
    ray, served = ("/api/healthz", 52365), ("/readyz", "serve")

    assert _probes(head) == [ray, ray, ray]
    assert all(_probes(worker) == [ray, ray, served] for worker in workers)
    assert ray[0] in PUBLIC_EXACT_PATHS
    assert served[0] in {route.path for route in ROUTES}


def _shell(arguments: list[str], path: str) -> subprocess.CompletedProcess[str]:
    """Run what KubeRay makes of a container's arguments, with `env` in place of Ray."""
    command = " ".join(arguments) + " && ulimit -n 1024; env"
    return subprocess.run(
        ["/bin/bash", "-c", "--", command],
        env={"PATH": path, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_ray_starts_with_the_variables_of_a_cluster() -> None:
    """Those that the pod has already stay as they are."""
    arguments = ray_groups("cpu")[1]["template"]["spec"]["containers"][0]["args"]
    found = _shell(arguments, f"{sys.prefix}/bin:/usr/bin:/bin")
    variables = dict(line.partition("=")[::2] for line in found.stdout.splitlines())
    expected = {**cluster_environment(), "RAY_USAGE_STATS_ENABLED": "1"}
    # The path of the interpreter, which may have several names.
    del expected["SERVICE_PYTHON"]

    assert {name: variables.get(name) for name in expected} == expected


def test_ray_does_not_start_without_the_variables() -> None:
    arguments = ray_groups("cpu")[0]["template"]["spec"]["containers"][0]["args"]
    found = _shell(arguments, "/nowhere")

    assert found.returncode == 1
    assert found.stdout == ""


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_has_the_same_settings_of_the_service(name: str) -> None:
    """The service is built in whichever pod Ray chooses."""
    head, *workers = (group["template"]["spec"]["containers"][0] for group in ray_groups(name))
    assert all(worker["env"] == head["env"] for worker in workers)
    url = "postgresql://embedder:secret@db.example/points"
    settings = load(
        ServeSettings, environment={one["name"]: one.get("value", url) for one in head["env"]}
    ).settings
    (keys,) = [one for one in head["volumeMounts"] if one["name"] == "keys"]

    assert settings.keys_file == f"{keys['mountPath']}/keys.yaml"
    stored = settings.index.url and settings.index.url.get_secret_value()
    assert stored == (url if name.startswith("postgres") else None)


@pytest.mark.parametrize("name", ["cpu", "postgres"])
def test_a_pod_has_the_time_to_move_its_replicas_and_to_end(name: str) -> None:
    """Afterwards Kubernetes kills it."""
    for group in ray_groups(name)[1:]:
        spec = group["template"]["spec"]
        (_, _, stop) = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        (drained_s,) = re.findall(
            r"--deadline-remaining-seconds (\d+) && sleep \1; ray stop$", stop
        )
        assert spec["terminationGracePeriodSeconds"] >= int(drained_s) + DRAIN_START_S + STOP_S


@pytest.mark.parametrize("name", VARIANTS)
def test_one_group_has_the_volume_with_the_data_and_one_pod(name: str) -> None:
    claims = [
        (group["groupName"], group["maxReplicas"], group["resources"]["data"])
        for group in ray_groups(name)[1:]
        for volume in group["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    service = variant(name)["RayService", "embedder"]["spec"]
    in_files = not name.startswith("postgres")

    assert claims == ([("data-worker", 1, "1")] if in_files else [])
    # A second cluster of pods would wait for the volume of the first one.
    assert service["upgradeStrategy"]["type"] == ("None" if in_files else "NewCluster")
    assert ("gcsFaultToleranceOptions" in service["rayClusterConfig"]) is not in_files

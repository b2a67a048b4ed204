"""The YAML files for one machine and for a cluster are valid for Ray and for the service."""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from pydantic import BaseModel
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import (
    HTTPOptionsSchema,
    LoggingConfig,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from deployments.app import build
from deployments.launch.preflight import check_exposure, read_config
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
SCHEMA: dict[str, Any] = json.loads(
    (Path(ray.autoscaler.__path__[0]) / "ray-schema.json").read_text()
)
starting = pytest.mark.parametrize(
    "commands", ["head_start_ray_commands", "worker_start_ray_commands"]
)


@pytest.fixture
def cluster() -> dict[str, Any]:
    return _document("cluster.yaml")


@pytest.fixture(params=["serve_config.yaml", "serve_cluster.yaml"])
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return _document(request.param)


@pytest.fixture
def on_nodes() -> dict[str, Any]:
    """Return the arguments of the service on several nodes."""
    arguments: dict[str, Any] = _document("serve_cluster.yaml")["applications"][0]["args"]
    return arguments


def _document(name: str) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(document, dict)
    return document


def test_the_cluster_is_what_rays_schema_describes(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, SCHEMA)


def test_the_cluster_is_what_ray_up_accepts(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_the_cluster_has_no_key_that_ray_does_not_know(cluster: dict[str, Any]) -> None:
    known = SCHEMA["properties"]
    node_type = known["available_node_types"]["patternProperties"][".*"]["properties"]

    assert cluster.keys() <= known.keys()
    assert cluster["provider"].keys() <= known["provider"]["properties"].keys()
    for group in cluster["available_node_types"].values():
        assert group.keys() <= node_type.keys()


def _groups(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    groups = cluster["available_node_types"].items()
    return {name: group for name, group in groups if name != cluster["head_node_type"]}


def test_the_cluster_has_workers_with_gpus_and_workers_without(cluster: dict[str, Any]) -> None:
    gpus = sorted(group["resources"].get("GPU", 0) for group in _groups(cluster).values())

    assert gpus == [0, 0, 1]
    assert all(group["resources"]["CPU"] > 0 for group in _groups(cluster).values())


def test_a_gpu_worker_is_there_only_while_it_is_asked_for(cluster: dict[str, Any]) -> None:
    gpus = [group for group in _groups(cluster).values() if group["resources"].get("GPU")]

    assert [group["min_workers"] for group in gpus] == [0]


def test_exactly_one_node_has_what_stages_with_files_ask_for(
    cluster: dict[str, Any], on_nodes: dict[str, Any]
) -> None:
    for stage in ("embedding_cache", "vector_index"):
        ((resource, amount),) = on_nodes[stage]["resources"].items()
        nodes = [group for group in _groups(cluster).values() if resource in group["resources"]]
        assert [(group["min_workers"], group["max_workers"]) for group in nodes] == [(1, 1)]
        shards = ServeSettings.model_validate(on_nodes)
        assert nodes[0]["resources"][resource] >= amount * (shards.index.shards + 1)


def test_two_nodes_always_have_an_ingress(
    cluster: dict[str, Any], on_nodes: dict[str, Any]
) -> None:
    """And room for the replicas that start first when the configuration changes."""
    stage = ServeSettings.model_validate(on_nodes).ingress
    nodes = sum(group["min_workers"] for group in _groups(cluster).values())
    assert stage.max_replicas_per_node is not None
    surge = -(-stage.min_replicas * stage.max_surge_percent // 100)

    assert nodes >= 2
    assert stage.min_replicas > stage.max_replicas_per_node
    assert stage.min_replicas + surge <= nodes * stage.max_replicas_per_node


def test_a_pool_on_gpus_waits_for_work_and_its_nodes(on_nodes: dict[str, Any]) -> None:
    bounds = {
        pool.hardware: (pool.min_replicas, pool.max_replicas)
        for pool in ServeSettings.model_validate(on_nodes).encoder.pools
    }

    assert bounds["gpu"] == (0, 2)
    assert bounds["cpu"][0] >= 2


def test_encoders_leave_room_on_each_node_for_the_other_stages(
    cluster: dict[str, Any], on_nodes: dict[str, Any]
) -> None:
    settings = ServeSettings.model_validate(on_nodes)
    others = (settings.ingress, settings.tokenizer)
    (encoder,) = [pool for pool in settings.encoder.pools if pool.hardware == "cpu"]
    assert encoder.max_replicas_per_node is not None
    booked = encoder.max_replicas_per_node * encoder.num_cpus
    booked += sum(stage.num_cpus * (stage.max_replicas_per_node or 1) for stage in others)
    booked += settings.embedding_cache.num_cpus + settings.vector_index.num_cpus

    cpus = [
        group["resources"]["CPU"]
        for group in _groups(cluster).values()
        if "GPU" not in group["resources"]
    ]
    assert booked <= min(cpus)


def test_no_replica_runs_on_the_head(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]

    assert head["resources"] == {"CPU": 0}


def test_the_limits_of_the_groups_add_up_to_the_clusters(cluster: dict[str, Any]) -> None:
    assert cluster["max_workers"] == sum(g["max_workers"] for g in _groups(cluster).values())


@starting
def test_ray_starts_with_what_it_reads_while_starting(
    cluster: dict[str, Any], commands: str
) -> None:
    (start,) = [command for command in cluster[commands] if "ray start" in command]

    python = "~/embedder/.venv/bin/python -m deployments.launch.ray_environment"
    assert f'variables=$({python}) && eval "$variables" && ' in start


@starting
def test_ray_is_the_one_that_was_installed_and_stops_before_it_starts(
    cluster: dict[str, Any], commands: str
) -> None:
    stop, start = cluster[commands]

    assert stop == "~/embedder/.venv/bin/ray stop"
    assert "~/embedder/.venv/bin/ray start" in start


def test_the_dashboard_is_reached_from_the_head_alone(cluster: dict[str, Any]) -> None:
    start = cluster["head_start_ray_commands"][-1]

    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=" in start


def test_every_node_gets_the_code_and_the_token(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"] == {
        "~/embedder": ".",
        "~/.ray/auth_token": "~/.ray/auth_token",
    }
    assert {".venv", ".git", "__pycache__"} <= set(cluster["rsync_exclude"])
    assert "cd ~/embedder && make install" in cluster["setup_commands"]


def test_the_service_is_what_serve_deploy_accepts(service: dict[str, Any]) -> None:
    (application,) = ServeDeploySchema.model_validate(service).applications

    assert application.name == "embedder"
    assert application.route_prefix == "/"


def test_the_service_on_one_machine_listens_to_it_alone() -> None:
    host = _document("serve_config.yaml")["http_options"]["host"]

    assert ipaddress.ip_address(host).is_loopback


def test_the_service_on_several_nodes_is_reached_by_all_and_needs_keys() -> None:
    document = read_config(ROOT / "serve_cluster.yaml")

    assert ipaddress.ip_address(document["http_options"]["host"]).is_unspecified
    with pytest.raises(ConfigurationError, match=r"no keys.*embedder key"):
        check_exposure(document)
    document["applications"][0]["args"]["keys"] = [{"name": "all", "sha256": "0" * 64}]
    check_exposure(document)
    assert build(document["applications"][0]["args"]) is not None


def test_the_services_arguments_are_settings(service: dict[str, Any]) -> None:
    ServeSettings.model_validate(service["applications"][0]["args"])


def test_the_service_is_built_by_something_that_exists(service: dict[str, Any]) -> None:
    module, _, name = service["applications"][0]["import_path"].partition(":")

    assert callable(getattr(import_module(module), name))


def _unknown(node: dict[str, Any], schema: type[BaseModel], where: str) -> Iterator[str]:
    return (f"{where}.{key}" for key in node.keys() - schema.model_fields.keys())


def test_the_service_has_no_key_that_serve_does_not_know(service: dict[str, Any]) -> None:
    """Serve itself ignores most of them."""
    unknown = [
        *_unknown(service, ServeDeploySchema, "top"),
        *_unknown(service["http_options"], HTTPOptionsSchema, "http_options"),
        *_unknown(service["logging_config"], LoggingConfig, "logging_config"),
        *_unknown(service["applications"][0], ServeApplicationSchema, "application"),
    ]

    assert unknown == []

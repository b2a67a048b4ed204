"""The two shipped YAML files are valid for Ray and for the service."""

from __future__ import annotations

import copy
import ipaddress
import json
import re
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

from deployments.launch.ray_environment import THROUGHPUT
from deployments.settings.service import ServeSettings

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


@pytest.fixture
def service() -> dict[str, Any]:
    return _document("serve_config.yaml")


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

    assert gpus == [0, 1]
    assert all(group["resources"]["CPU"] > 0 for group in _groups(cluster).values())


def test_a_gpu_is_there_when_the_service_is_deployed(cluster: dict[str, Any]) -> None:
    """Where ``hardware: auto`` is resolved."""
    assert all(
        group["min_workers"] >= 1
        for group in _groups(cluster).values()
        if group["resources"].get("GPU")
    )


def test_no_replica_runs_on_the_head(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]

    assert head["resources"] == {"CPU": 0}


def test_the_limits_of_the_groups_add_up_to_the_clusters(cluster: dict[str, Any]) -> None:
    assert cluster["max_workers"] == sum(g["max_workers"] for g in _groups(cluster).values())


@starting
def test_ray_starts_with_what_it_reads_while_starting(
    cluster: dict[str, Any], commands: str
) -> None:
    starts = [command for command in cluster[commands] if "ray start" in command]

    assert len(starts) == 1
    exported = re.search(r"export ([^;]+);.*/ray start ", starts[0])
    assert exported is not None
    variables = dict(pair.split("=") for pair in exported[1].split())
    assert variables == {**THROUGHPUT, "RAY_AUTH_MODE": "token"}


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


def test_the_service_listens_to_this_machine_alone(service: dict[str, Any]) -> None:
    assert ipaddress.ip_address(service["http_options"]["host"]).is_loopback


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

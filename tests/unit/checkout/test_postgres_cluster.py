"""The YAML files of a cluster whose index is in PostgreSQL: valid, and else as the other ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jsonschema
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from deployments.app import build
from deployments.launch.pinning import check_pinned
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from tests.unit.checkout.test_yaml_files import ROOT, SCHEMA

CLUSTER, SERVICE = "cluster_postgres.yaml", "serve_cluster_postgres.yaml"


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return document


def _arguments(name: str = SERVICE) -> dict[str, Any]:
    arguments: dict[str, Any] = _document(name)["applications"][0]["args"]
    return arguments


def _without(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def test_the_cluster_is_what_ray_up_accepts() -> None:
    cluster = _document(CLUSTER)
    jsonschema.validate(cluster, SCHEMA)
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_it_differs_from_the_other_cluster_in_its_data_and_the_password_alone() -> None:
    mine, other = _document(CLUSTER), _document("cluster.yaml")
    groups, others = (one.pop("available_node_types") for one in (mine, other))
    assert mine.pop("file_mounts") == {**other.pop("file_mounts"), "~/.pgpass": "~/.pgpass"}
    setup = [line.replace(" ~/.pgpass", "") for line in mine.pop("setup_commands")]
    assert setup == other.pop("setup_commands")

    assert mine == other
    assert others.keys() - groups.keys() == {"data_worker"}
    sizes = ("min_workers", "max_workers")
    for name, group in groups.items():
        assert _without(group, *sizes) == _without(others[name], *sizes)
    workers = _without(groups, mine["head_node_type"]).values()
    assert sum(group["max_workers"] for group in workers) == mine["max_workers"]


def test_the_service_differs_from_the_other_one_in_its_index_alone() -> None:
    mine, other = _document(SERVICE), _document("serve_cluster.yaml")
    own = mine["applications"][0].pop("args")
    pinned = other["applications"][0].pop("args")

    assert mine == other
    assert _without(own, "index", "vector_index") == _without(
        pinned, "embedding_cache", "vector_index"
    )


def test_the_service_is_what_serve_deploy_accepts() -> None:
    ServeDeploySchema.model_validate(_document(SERVICE))
    settings = ServeSettings.model_validate(_arguments())

    assert settings.index.url is not None
    assert ":" not in settings.index.url.get_secret_value().partition("@")[0].partition("//")[2]
    assert build({**_arguments(), "keys": [{"name": "all", "sha256": "0" * 64}]}) is not None


def test_no_replica_is_pinned_and_two_nodes_have_one_of_each_shard() -> None:
    settings, groups = ServeSettings.model_validate(_arguments()), _document(CLUSTER)
    stage = settings.vector_index
    workers = groups["available_node_types"]["cpu_worker"]

    assert not stage.resources
    assert not stage.label_selector
    assert stage.max_replicas_per_node == 1
    assert 2 <= stage.min_replicas <= workers["min_workers"]
    assert stage.max_replicas <= workers["max_workers"]


def test_encoders_leave_room_on_each_node_for_the_other_stages() -> None:
    settings, groups = ServeSettings.model_validate(_arguments()), _document(CLUSTER)
    (encoder,) = [pool for pool in settings.encoder.pools if pool.hardware == "cpu"]
    others = (settings.ingress, settings.tokenizer, settings.vector_index)
    booked = settings.embedding_cache.num_cpus
    for stage in (encoder, *others):
        assert stage.max_replicas_per_node is not None
        booked += stage.max_replicas_per_node * stage.num_cpus

    assert booked <= groups["available_node_types"]["cpu_worker"]["resources"]["CPU"]


def test_an_index_in_files_is_refused_on_this_cluster() -> None:
    """And accepted on the other one, as it is shipped."""
    for name, service, accepted in (
        (CLUSTER, SERVICE, False),
        ("cluster.yaml", "serve_cluster.yaml", True),
    ):
        nodes = [
            {"NodeManagerAddress": kind, "Resources": group["resources"], "Labels": {}}
            for kind, group in _document(name)["available_node_types"].items()
        ]
        stage = ServeSettings.model_validate(_arguments(service)).vector_index
        assert _is_refused(nodes, stage.resources) is not accepted


def _is_refused(nodes: list[dict[str, Any]], resources: dict[str, float]) -> bool:
    try:
        check_pinned(nodes, resources, {})
    except ConfigurationError:
        return True
    return False


def test_the_documentation_names_both_files() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()

    assert f"make cluster CLUSTER={CLUSTER} SERVED={SERVICE}" in text

"""The composed application: five deployments by their names."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.serve import Application, Deployment
from ray.serve.config import HTTPOptions

from deployments.app import build
from deployments.launch.services.instances import MARK_VARIABLE, REFUSAL_FILE, ServiceInstance
from deployments.settings.models import ModelList
from embedder.core.errors import ConfigurationError

ROUTER = "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"
NAMES = {"Ingress", "Tokenizer", "Encoder", "EmbeddingCache-0", "VectorIndex-0"}


def _bound(deployment: Deployment) -> dict[str, Any]:
    """Return the keyword arguments that a deployment is bound to, which Ray types as a tuple."""
    arguments: Any = deployment.init_kwargs
    return dict(arguments)


def _deployments(application: Application) -> Iterator[Deployment]:
    """Give the deployments of a graph; those that it is bound to first."""
    deployment = application._bound_deployment
    bound = _bound(deployment)
    several = [bound.get(role, {}).values() for role in ("encoders", "caches", "indexes")]
    for argument in (*deployment.init_args, *bound.values(), *chain.from_iterable(several)):
        if isinstance(argument, Application):
            yield from _deployments(argument)
    yield deployment


def _by_name(args: dict[str, Any]) -> dict[str, Deployment]:
    return {deployment.name: deployment for deployment in _deployments(build(args))}


def test_the_application_is_five_deployments_and_needs_no_cluster_to_be_built() -> None:
    application = build({})

    assert not ray.is_initialized()
    assert sorted(deployment.name for deployment in _deployments(application)) == sorted(NAMES)
    assert application._bound_deployment.name == "Ingress"


def test_the_ingress_is_bound_to_each_stage_by_its_role() -> None:
    args = {"cache": {"shards": 3}, "index": {"shards": 2}}
    bound = _bound(build(args)._bound_deployment)
    shards = {**bound.pop("caches"), **bound.pop("indexes")}
    encoders = bound.pop("encoders")

    assert {role: stage._bound_deployment.name for role, stage in bound.items()} == {
        "tokenizer": "Tokenizer",
    }
    assert {role: stage._bound_deployment.name for role, stage in encoders.items()} == {
        "Encoder": "Encoder",
    }
    assert [stage._bound_deployment.name for stage in shards.values()] == list(shards)
    assert list(shards) == [
        *(f"EmbeddingCache-{shard}" for shard in range(3)),
        *(f"VectorIndex-{shard}" for shard in range(2)),
    ]


def test_stateful_stages_have_one_replica_and_stateless_ones_scale() -> None:
    graph = _by_name({"tokenizer": {"min_replicas": 2, "max_replicas": 7}})
    scaling = {
        name: deployment._deployment_config.autoscaling_config for name, deployment in graph.items()
    }

    assert {name for name, config in scaling.items() if config is None} == {
        "EmbeddingCache-0",
        "VectorIndex-0",
    }
    assert graph["VectorIndex-0"].num_replicas == graph["EmbeddingCache-0"].num_replicas == 1
    assert scaling["Tokenizer"] is not None
    assert (scaling["Tokenizer"].min_replicas, scaling["Tokenizer"].max_replicas) == (2, 7)


def test_only_a_stage_on_a_gpu_requests_a_gpu() -> None:
    graph = _by_name({"encoder": {"hardware": "gpu", "num_gpus": 0.5, "num_cpus": 1}})

    assert graph["Encoder"].ray_actor_options == {"num_cpus": 1, "num_gpus": 0.5}
    for name in NAMES - {"Encoder"}:
        assert graph[name].ray_actor_options == {"num_cpus": 0.1}


def test_a_stateful_stage_can_be_pinned_to_a_node() -> None:
    graph = _by_name({"vector_index": {"resources": {"disk": 0.5}}})

    assert graph["VectorIndex-0"].ray_actor_options == {
        "num_cpus": 0.1,
        "resources": {"disk": 0.5},
    }


@pytest.mark.parametrize(
    ("stage", "name"), [("vector_index", "VectorIndex-0"), ("encoder", "Encoder")]
)
def test_a_stage_can_be_limited_to_nodes_with_labels(stage: str, name: str) -> None:
    graph = _by_name({stage: {"label_selector": {"disk": "ssd"}}})

    assert (graph[name].ray_actor_options or {})["label_selector"] == {"disk": "ssd"}


def test_the_replicas_of_a_stage_can_be_spread_over_nodes() -> None:
    graph = _by_name({"ingress": {"max_replicas_per_node": 1}})
    limits = {name: graph[name]._replica_config.max_replicas_per_node for name in NAMES}

    assert limits == {**dict.fromkeys(NAMES), "Ingress": 1}


def test_a_stateless_replica_starts_before_the_one_that_it_replaces_stops() -> None:
    """But an encoder only if its settings say that there is room, and never a stage with files."""
    graph = _by_name({})
    surge = {name: graph[name]._deployment_config.max_surge_percent for name in NAMES}

    assert surge == {**dict.fromkeys(NAMES, 0), "Ingress": 25, "Tokenizer": 25}
    stated = _by_name({"encoder": {"max_surge_percent": 50}})["Encoder"]
    assert stated._deployment_config.max_surge_percent == 50


def test_every_stage_that_holds_models_is_given_the_same_list() -> None:
    further = {"name": "/models/own", "alias": "own", "pinned": False}
    graph = _by_name({"model": {"name": "all-mpnet-base-v2"}, "further_models": [further]})
    lists = {name: graph[name].user_config for name in NAMES}

    assert lists["Ingress"] == lists["Tokenizer"] == lists["Encoder"]
    assert lists["EmbeddingCache-0"] is lists["VectorIndex-0"] is None
    models = ModelList.model_validate(lists["Encoder"]).models
    assert [model.name for model in models] == ["all-mpnet-base-v2", "/models/own"]
    assert [model.pinned for model in models] == [True, False]


def test_the_list_of_models_can_be_written_to_a_configuration_file() -> None:
    user_config = _by_name({"further_models": [{"name": "/models/own"}]})["Ingress"].user_config

    assert json.loads(json.dumps(user_config)) == user_config


@pytest.mark.parametrize("name", ["Ingress", "Tokenizer", "Encoder"])
def test_a_stage_that_is_given_models_takes_a_change_of_them(name: str) -> None:
    kind: Any = _by_name({})[name].func_or_class

    assert inspect.iscoroutinefunction(kind.reconfigure)


@pytest.mark.parametrize("args", [{"encodr": {"min_replicas": 1}}, {"encoder": {"device": "cpu"}}])
def test_an_unknown_argument_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="no such setting"):
        build(args)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray say that it runs on one node of two cores, where Serve listens on loopback."""
    _run_on(monkeypatch, ["10.0.0.1"], host="127.0.0.1")


def _run_on(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str], *, host: str) -> None:
    resources = {"CPU": 2.0, "memory": 1e9}
    nodes = [
        {"Alive": True, "Resources": resources, "NodeManagerAddress": address}
        for address in addresses
    ]
    total = {name: amount * len(nodes) for name, amount in resources.items()}
    client = SimpleNamespace(http_config=HTTPOptions(host=host))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("deployments.app._get_global_client", lambda **_: client)


@pytest.mark.usefixtures("two_cores")
def test_embedder_serve_gets_an_error_at_once_if_the_machine_lacks_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ServiceInstance(8000, None, 1, 1, str(tmp_path), 20_000)
    monkeypatch.setenv(MARK_VARIABLE, service.mark)
    build({})

    with pytest.raises(ConfigurationError):
        build({"vector_index": {"resources": {"fast_disk": 1}}})
    refusal = (tmp_path / REFUSAL_FILE).read_text()
    assert "a replica of VectorIndex takes 0.1 CPU 1 fast_disk; no node has that (2 CPU)" in refusal


@pytest.mark.usefixtures("two_cores")
def test_missing_resources_of_a_cluster_are_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MARK_VARIABLE, raising=False)

    assert build({"vector_index": {"resources": {"fast_disk": 1}}}) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_service_on_several_machines_needs_keys(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_on(monkeypatch, ["10.0.0.1", "10.0.0.2"], host=host)

    with pytest.raises(ConfigurationError, match=r"no keys.*10\.0\.0\.1, 10\.0\.0\.2"):
        build({})


def test_logical_nodes_of_one_machine_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _run_on(monkeypatch, ["10.0.0.1", "10.0.0.1"], host="127.0.0.1")

    assert build({}) is not None


@pytest.mark.parametrize(("haproxy", "accepted"), [("1", False), ("0", True)])
def test_haproxy_needs_an_address_that_other_machines_reach(
    haproxy: str, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_on(monkeypatch, ["10.0.0.1", "10.0.0.2"], host="127.0.0.1")
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", haproxy)
    keys = [{"name": "all", "sha256": "0" * 64}]

    with nullcontext() if accepted else pytest.raises(ConfigurationError, match="serve_cluster"):
        build({"keys": keys, "data_directory": None})


@pytest.mark.parametrize(("tuned", "variables"), [("1", {ROUTER: "0"}), ("0", {})])
def test_only_the_ingress_routes_calls_in_its_own_event_loop(
    tuned: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In throughput mode; else Serve keeps its replicas' code in another thread."""
    monkeypatch.setenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", tuned)
    given = {
        name: (deployment.ray_actor_options or {}).get("runtime_env", {}).get("env_vars", {})
        for name, deployment in _by_name({}).items()
    }

    assert given == {**{name: {} for name in NAMES}, "Ingress": variables}

"""Named pools of encoders: their settings, their deployments, and the models that they hold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.launch.preflight import check_contents, load_applications
from deployments.launch.sizing import (
    GPU_CALLS_PER_REPLICA,
    ClusterResources,
    missing_resources,
    pool_settings,
    resolve_auto,
)
from deployments.settings.encoders import EncoderDeployment
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from tests.unit.deployments.launch.test_preflight import document
from tests.unit.deployments.test_app import _by_name

CPU: dict[str, Any] = {"name": "cpu", "min_replicas": 2, "max_replicas": 9}
GPU: dict[str, Any] = {
    "name": "gpu",
    "hardware": "gpu",
    "num_gpus": 0.5,
    "accelerator_type": "L4",
    "label_selector": {"market-type": "!spot"},
    "min_replicas": 0,
    "max_replicas": 4,
}
POOLS = {"encoder": {"pools": [CPU, GPU]}}


def _read(**args: Any) -> ServeSettings:
    return ServeSettings.model_validate(args)


def test_without_pools_the_encoder_is_one_deployment_of_all_models() -> None:
    settings = _read(encoder={"max_replicas": 3})
    (encoder,) = settings.encoder.deployments

    assert encoder == EncoderDeployment("Encoder", settings.encoder)
    assert settings.model_deployments == ("Ingress", "Tokenizer", "Encoder")


def test_each_pool_is_a_deployment_called_after_it() -> None:
    settings = _read(**POOLS)
    names = [pool.deployment for pool in settings.encoder.deployments]

    assert names == ["Encoder-cpu", "Encoder-gpu"]
    assert settings.model_deployments == ("Ingress", "Tokenizer", *names)


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ({"pools": [CPU, CPU]}, "several pools are called 'cpu'"),
        ({"pools": [CPU], "num_cpus": 2}, "state num_cpus in each pool"),
        ({"pools": [CPU], "hardware": "gpu", "replicas": 2}, "state hardware, replicas in each"),
        ({"pools": [CPU], "placement": "colocated"}, "which is for one node"),
        ({"pools": [{"max_replicas": 2}]}, "name"),
        ({"pools": [{"name": "GPU 1"}]}, "pattern"),
        ({"pools": [{"name": "a", "hardware": "auto"}]}, "'cpu' or 'gpu'"),
        ({"pools": [{"name": "a", "models": []}]}, "at least 1"),
        ({"pools": [{"name": "a", "min_replicas": 3, "max_replicas": 2}]}, "above max_replicas"),
        ({"pools": [{"name": "a", "replicas": 3, "max_replicas": 3}]}, "leave max_replicas out"),
        ({"pools": [{"name": "a", "replicas": 0}]}, "greater than or equal to 1"),
        ({"pools": [{"name": "a", "accelerator_type": "L4"}]}, "hardware must be gpu"),
        ({"hardware": "cpu", "accelerator_type": "L4"}, "hardware must be gpu"),
        ({"pools": [{"name": "a", "placement": "remote"}]}, "placement"),
    ],
)
def test_a_contradiction_is_refused_and_named(encoder: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        _read(encoder=encoder)


@pytest.mark.parametrize(("device", "refused"), [("auto", 0), ("cpu", 0), ("cuda", 1)])
def test_a_device_that_a_pool_lacks_is_refused(device: str, refused: bool) -> None:
    args = {**POOLS, "backend": {"device": device}}
    if not refused:
        assert _read(**args).backend.device == device
        return
    with pytest.raises(ValidationError, match=r"pool 'cpu' .* leave backend\.device out"):
        _read(**args)


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_backend_of_a_pool_follows_its_hardware_and_not_the_cluster(gpus: float) -> None:
    settings = resolve_auto(_read(**POOLS), ClusterResources(8, gpus))
    cpu, gpu = (pool_settings(settings, pool).backend for pool in settings.encoder.deployments)

    assert (cpu.device, cpu.threads, cpu.shared_weights) == ("cpu", 1, True)
    assert (gpu.device, gpu.threads, gpu.shared_weights) == ("cuda", None, None)


def test_a_pool_has_its_bounds_and_on_a_gpu_two_calls_per_replica() -> None:
    args = {"encoder": {"pools": [CPU, GPU, {"name": "fixed", "replicas": 3}]}}
    pools = resolve_auto(_read(**args), ClusterResources(8, 8)).encoder.deployments
    found = {
        pool.deployment: (
            pool.replicas.min_replicas,
            pool.replicas.max_replicas,
            pool.replicas.calls_per_replica,
        )
        for pool in pools
    }

    assert found == {
        "Encoder-cpu": (2, 9, 1),
        "Encoder-gpu": (0, 4, GPU_CALLS_PER_REPLICA),
        "Encoder-fixed": (3, 3, 1),
    }


def test_a_pool_without_a_minimum_may_wait_for_its_first_node() -> None:
    wanted = {"Encoder-cpu": (1, {"CPU": 1.0}), "Encoder-gpu": (0, {"GPU": 1.0})}

    assert missing_resources(wanted, [{"CPU": 2}]) is None
    with_minimum = {**wanted, "Encoder-gpu": (1, {"GPU": 1.0})}
    assert "a replica of Encoder-gpu" in str(missing_resources(with_minimum, [{"CPU": 2}]))


def test_the_graph_has_a_deployment_for_each_pool_with_its_resources_and_bounds() -> None:
    graph = _by_name(POOLS)
    scaling = {
        name: graph[name]._deployment_config.autoscaling_config
        for name in ("Encoder-cpu", "Encoder-gpu")
    }

    assert graph["Encoder-cpu"].ray_actor_options == {"num_cpus": 0.5}
    assert graph["Encoder-gpu"].ray_actor_options == {
        "num_cpus": 0.5,
        "num_gpus": 0.5,
        "accelerator_type": "L4",
        "label_selector": {"market-type": "!spot"},
    }
    assert "Encoder" not in graph
    bounds = {
        name: config and (config.min_replicas, config.max_replicas)
        for name, config in scaling.items()
    }
    assert bounds == {"Encoder-cpu": (2, 9), "Encoder-gpu": (0, 4)}
    lists = [graph[name].user_config for name in ("Ingress", "Tokenizer", *scaling)]
    assert all(one == lists[0] for one in lists)


def _configuration(args: dict[str, Any], **lists: Any) -> dict[str, Any]:
    configuration = document(args)
    configuration["applications"][0]["deployments"] = [
        {"name": name.replace("_", "-"), "user_config": models} for name, models in lists.items()
    ]
    return configuration


MODELS = {"models": [{"name": "all-MiniLM-L6-v2"}, {"name": "bge-m3", "alias": "large"}]}


def test_every_pool_must_have_the_list_of_models() -> None:
    names = ("Ingress", "Tokenizer", "Encoder_cpu", "Encoder_gpu")
    whole = _configuration(POOLS, **dict.fromkeys(names, MODELS))
    partial = _configuration(POOLS, **dict.fromkeys(names[:3], MODELS))
    (_, _, models), *_ = load_applications(whole)

    assert [model.name for model in models.models] == ["all-MiniLM-L6-v2", "bge-m3"]
    with pytest.raises(ConfigurationError, match=r"Encoder-gpu must have the same user_config"):
        check_contents(partial, fetch=False)


@pytest.mark.parametrize(
    ("of_cpu", "of_gpu", "says"),
    [
        (None, ["large"], None),
        (["all-MiniLM-L6-v2"], ["BAAI/bge-m3"], None),
        (["all-MiniLM-L6-v2"], ["all-MiniLM-L6-v2"], "no pool of encoder.pools has .* 'large'"),
        (None, ["larg"], "pool Encoder-gpu has the model 'larg', which is not served"),
    ],
)
def test_every_model_needs_a_pool_and_every_name_of_a_pool_a_model(
    of_cpu: Any, of_gpu: Any, says: str | None
) -> None:
    args = {"encoder": {"pools": [{**CPU, "models": of_cpu}, {**GPU, "models": of_gpu}]}}
    names = ("Ingress", "Tokenizer", "Encoder_cpu", "Encoder_gpu")
    configuration = _configuration(args, **dict.fromkeys(names, MODELS))
    if says is None:
        assert list(load_applications(configuration))
        return
    with pytest.raises(ConfigurationError, match=says):
        list(load_applications(configuration))

"""The settings that the deployment resolves: the hardware once, and an encoder per core."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deployments.launch.sizing import ClusterResources, missing_resources, resolve_auto
from deployments.settings.service import ServeSettings


def _decided(gpus: float, *, cpus: float = 8, **args: Any) -> ServeSettings:
    return resolve_auto(ServeSettings.model_validate(args), ClusterResources(cpus, gpus))


def _replicas(settings: ServeSettings) -> tuple[int, int]:
    return settings.encoder.min_replicas, settings.encoder.max_replicas


@pytest.mark.parametrize(("gpus", "hardware", "device"), [(0, "cpu", "cpu"), (4, "gpu", "cuda")])
def test_auto_follows_the_cluster(gpus: float, hardware: str, device: str) -> None:
    settings = _decided(gpus)

    assert settings.encoder.hardware == hardware
    assert settings.backend.device == device


@pytest.mark.parametrize("gpus", [0, 4])
@pytest.mark.parametrize(("hardware", "device"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_chosen_hardware_stays_and_the_device_follows_it(
    gpus: float, hardware: str, device: str
) -> None:
    settings = _decided(gpus, encoder={"hardware": hardware})

    assert settings.encoder.hardware == hardware
    assert settings.backend.device == device


@pytest.mark.parametrize("gpus", [0, 4])
@pytest.mark.parametrize("device", ["cpu", "mps", "cuda:1"])
def test_a_chosen_device_stays(gpus: float, device: str) -> None:
    assert _decided(gpus, backend={"device": device}).backend.device == device


@pytest.mark.parametrize("gpus", [0, 4])
def test_resolving_the_hardware_changes_nothing_else(gpus: float) -> None:
    before, after = ServeSettings().model_dump(), _decided(gpus).model_dump()
    for settings in (before, after):
        for field in ("device", "threads", "shared_weights"):
            del settings["backend"][field]
        for field in ("hardware", "calls_per_replica", "min_replicas", "max_replicas"):
            del settings["encoder"][field]

    assert after == before


def test_the_hardware_of_every_stage_is_resolved() -> None:
    settings = _decided(1, tokenizer={"hardware": "auto"}, vector_index={"hardware": "auto"})

    assert settings.tokenizer.hardware == settings.vector_index.hardware == "gpu"
    assert settings.embedding_cache.hardware == settings.ingress.hardware == "cpu"


@pytest.mark.parametrize(("cpus", "count"), [(1, 1), (2, 2), (3.5, 3), (16, 16)])
def test_there_is_an_encoder_for_each_core(cpus: float, count: int) -> None:
    assert _replicas(_decided(0, cpus=cpus)) == (count, count)


def test_encoders_leave_the_cores_that_other_stages_may_reserve() -> None:
    settings = _decided(0, cpus=8, encoder={"num_cpus": 1}, index={"shards": 10})

    # Two of the ingress, two tokenizers, a cache and ten shards, of a tenth of a core each.
    assert _replicas(settings) == (6, 6)


def test_encoders_that_reserve_nothing_are_as_many_as_cores() -> None:
    assert _replicas(_decided(0, cpus=4, encoder={"num_cpus": 0})) == (4, 4)


@pytest.mark.parametrize("gpus", [0, 2])
def test_an_explicit_number_of_encoders_is_used(gpus: float) -> None:
    assert _replicas(_decided(gpus, cpus=2, encoder={"replicas": 5})) == (5, 5)


@pytest.mark.parametrize(("gpus", "replicas"), [(0, None), (2, None), (2, "auto")])
def test_bounds_apply_on_gpus_and_without_a_number(gpus: float, replicas: str | None) -> None:
    encoder = {"replicas": replicas, "min_replicas": 2, "max_replicas": 7}

    assert _replicas(_decided(gpus, encoder=encoder)) == (2, 7)


def test_concurrent_calls_follow_the_number_of_encoders() -> None:
    assert _decided(0, cpus=4).encoder.concurrent_calls(worth_tokens=1).count == 4


@pytest.mark.parametrize(
    ("gpus", "stated", "calls"), [(0, {}, 1), (1, {}, 2), (1, {"calls_per_replica": 1}, 1)]
)
def test_an_encoder_on_a_gpu_gets_two_concurrent_calls(
    gpus: float, stated: dict[str, int], calls: int
) -> None:
    assert _decided(gpus, encoder=stated).encoder.calls_per_replica == calls


@pytest.mark.parametrize(
    ("device", "stated", "threads"),
    [("auto", None, 1), ("cpu", 3, 3), ("cuda", None, None), ("auto", 2, 2)],
)
def test_an_encoder_on_a_cpu_has_one_thread_by_default(
    device: str, stated: int | None, threads: int | None
) -> None:
    settings = _decided(0, backend={"device": device, "threads": stated})

    assert settings.backend.threads == threads


@pytest.mark.parametrize(
    ("device", "stated", "shared"),
    [("auto", None, True), ("cpu", False, False), ("cuda", None, None), ("cuda", True, True)],
)
def test_encoders_on_cpus_share_weights_by_default(
    device: str, stated: bool | None, shared: bool | None
) -> None:
    settings = _decided(0, backend={"device": device, "shared_weights": stated})

    assert settings.backend.shared_weights is shared


@pytest.mark.parametrize(
    ("stated", "replicas"), [({}, (4, 4)), ({"min_replicas": 1, "max_replicas": 3}, (1, 3))]
)
def test_with_a_colocated_encoder_there_is_an_ingress_per_core(
    stated: dict[str, int], replicas: tuple[int, int]
) -> None:
    ingress = _decided(0, cpus=4, encoder={"placement": "colocated"}, ingress=stated).ingress

    assert (ingress.min_replicas, ingress.max_replicas) == replicas


def test_on_gpus_a_colocated_encoder_needs_no_further_ingresses() -> None:
    ingress = _decided(1, cpus=4, encoder={"placement": "colocated"}).ingress

    assert (ingress.min_replicas, ingress.max_replicas) == (1, 2)


NODES = [{"CPU": 2.0, "disk": 1.0}, {"CPU": 4.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"Encoder": (1, {"CPU": 5})}, "a replica of Encoder takes 5 CPU; no node has that"),
        ({"Encoder": (1, {"CPU": 3, "disk": 1})}, "Encoder takes 3 CPU 1 disk; no node"),
        ({"VectorIndex": (1, {"CPU": 0, "ssd": 1})}, "VectorIndex takes 0 CPU 1 ssd; no node"),
        ({"Encoder": (2, {"CPU": 1, "GPU": 1})}, "2 CPU 2 GPU in all .*Encoder 2 x 1 CPU 1 GPU"),
        ({"Encoder": (4, {"CPU": 1}), "Ingress": (3, {"CPU": 1})}, "7 CPU in all"),
    ],
)
def test_missing_resources_are_named_beside_the_available_ones(
    wanted: dict[str, Any], says: str
) -> None:
    problem = missing_resources(wanted, NODES)

    assert problem is not None
    assert re.search(says, problem)
    assert "2 CPU 1 disk; 4 CPU 1 GPU" in problem


def test_an_exact_fit_lacks_nothing() -> None:
    wanted = {"Encoder": (2, {"CPU": 0.5, "GPU": 0.5}), "Ingress": (50, {"CPU": 0.1})}

    assert missing_resources(wanted, NODES) is None

"""What operators and load balancers are told of several pools of encoders."""

from __future__ import annotations

from typing import Any, cast

import pytest

from deployments.encoder import remote_pool
from deployments.rpc.handle_client import Handle
from embedder.core.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.virtual_time import VirtualTime
from tests.unit.waiting import until

CPU, GPU = "Encoder-cpu", "Encoder-gpu"
POOLS: list[dict[str, Any]] = [
    {"name": "cpu"},
    {"name": "gpu", "hardware": "gpu", "min_replicas": 0},
]


class Replicas:
    """The running replicas of each pool, which a test sets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.counts = {CPU: 1, GPU: 1}
        self.service: FakeService | None = None
        patch.setattr(remote_pool, "running_replicas", self._of)

    def _of(self, handle: Handle) -> int | None:
        pools = {} if self.service is None else self.service.pools
        names = [name for name, pool in pools.items() if cast("object", handle) is pool]
        return self.counts[names[0]] if names else None


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> Replicas:
    return Replicas(monkeypatch)


async def _service(replicas: Replicas, pools: Any = POOLS) -> FakeService:
    """Return a service that has connected to its model in the pools that have replicas."""
    service = FakeService(encoder={"pools": pools})
    replicas.service = service
    await service.model(None)
    await service.post_texts("ab")
    return service


async def _get(service: FakeService, path: str) -> Any:
    async with service.client() as http:
        return (await http.get(path)).json()


@pytest.mark.parametrize(
    ("cpu", "gpu", "broken", "embeddings"),
    [
        (1, 1, (), "ready"),
        (1, 0, (), "ready"),
        (0, 1, (), "ready"),
        (1, 1, (GPU,), "ready"),
        (0, 0, (), "waiting"),
        (1, 1, (CPU, GPU), "waiting"),
        (1, 0, (CPU,), "waiting"),
    ],
)
async def test_embeddings_are_ready_while_one_pool_answers(
    replicas: Replicas, cpu: int, gpu: int, broken: tuple[str, ...], embeddings: str
) -> None:
    service = await _service(replicas)
    replicas.counts = {CPU: cpu, GPU: gpu}
    for name in broken:
        service.pools[name].fault = StageUnavailable(name, "gone")
    answer = await _get(service, "/readyz")
    expected = {
        CPU: "ready" if cpu else "no replica runs",
        GPU: "ready" if gpu else "no replica runs; work starts one where a node has room for it",
        **{name: f"the {name} is not available" for name in broken},
    }

    assert answer["capabilities"]["embeddings"] == embeddings
    assert answer["ready"] == (embeddings == "ready")
    assert {name: answer["stages"][name] for name in (CPU, GPU)} == expected


async def test_pools_that_are_all_scaled_to_zero_are_ready_for_work(replicas: Replicas) -> None:
    service = await _service(replicas, [{**pool, "min_replicas": 0} for pool in POOLS])
    replicas.counts = {CPU: 0, GPU: 0}
    answer = await _get(service, "/readyz")

    assert (answer["ready"], answer["capabilities"]["embeddings"]) == (True, "degraded")


async def test_a_pool_without_the_default_model_does_not_make_embeddings_ready(
    replicas: Replicas,
) -> None:
    service = await _service(replicas, [{"name": "cpu"}, {"name": "gpu", "models": ["other"]}])
    replicas.counts = {CPU: 0, GPU: 1}

    assert (await _get(service, "/readyz"))["capabilities"]["embeddings"] == "waiting"


async def test_a_probe_calls_no_pool_that_has_no_replica(replicas: Replicas) -> None:
    service = await _service(replicas)
    replicas.counts[GPU] = 0
    service.pools[GPU].fault = AssertionError("a call has Serve start a replica")
    answers = [await _get(service, path) for path in ("/readyz", "/v1/stats")]

    assert answers[0]["stages"][GPU].startswith("no replica runs")
    assert [one["deployment"] for one in answers[1]["encoders"]] == [CPU]


async def test_the_statistics_have_what_the_ingress_knows_of_each_pool(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await _service(replicas)
    clock = VirtualTime(monkeypatch)
    tokens = sum(pool.tracker.added_tokens for pool in service.encoder_pools)
    clock.stand_still(10.0)
    replicas.counts[GPU] = 0
    pools = (await _get(service, "/v1/stats"))["pools"]

    assert [(one["deployment"], one["replicas"]) for one in pools] == [(CPU, 1), (GPU, 0)]
    assert sum(one["added_tokens"] for one in pools) == tokens > 0
    assert {one["waiting_tokens"] for one in pools} == {0}


async def test_maintenance_connects_to_a_pool_that_has_a_replica_now(replicas: Replicas) -> None:
    service = FakeService(encoder={"pools": POOLS})
    replicas.service, replicas.counts[GPU] = service, 0
    await service.model(None)
    replicas.counts[GPU] = 1
    (connection,) = service.models.serving()
    before = [one.state for one in connection.encoder.states]
    service.run_maintenance()
    await until(lambda: [one.state for one in connection.encoder.states] == ["ready", "ready"])

    assert before == ["ready", "no replica"]


async def test_a_model_is_listed_with_its_pools_only_if_there_are_several(
    replicas: Replicas,
) -> None:
    service = await _service(replicas)
    replicas.counts[GPU] = 0
    await service.post_texts("ba")
    several = await _get(service, f"/v1/models/{ALIAS}")
    alone = await _get(await _connected_alone(), f"/v1/models/{ALIAS}")

    assert several["dtype"] == "auto"
    assert several["pools"][0] == {
        "pool": CPU,
        "state": "ready",
        "backend": "test",
        "device": "cpu",
        "dtype": "float32",
    }
    assert (several["pools"][1]["pool"], several["pools"][1]["state"]) == (GPU, "no replica")
    assert "pools" not in alone


async def _connected_alone() -> FakeService:
    service = FakeService()
    await service.model(None)
    return service


async def test_what_waits_and_arrives_is_reported_for_each_pool(replicas: Replicas) -> None:
    service = await _service(replicas)
    report = service.scaling_report()

    assert {"arriving:Encoder-cpu", "arriving:Encoder-gpu", "waiting:Encoder-gpu"} <= report.keys()

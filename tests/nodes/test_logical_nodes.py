"""The service on a head without CPUs, two CPU nodes and one with a logical GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests.nodes import service_file
from tests.nodes.logical_service import LogicalService, served
from tests.nodes.waiting import wait_for

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogicalService]:
    arguments = service_file.arguments()
    cpu, gpu = arguments["encoder"]["pools"]
    # Ray only counts the GPU, which computes nothing; its pool always has a replica.
    pools = [cpu, {**gpu, "min_replicas": 1}]
    folder = tmp_path_factory.mktemp("logical")
    with served(folder, backend={"device": "cpu"}, encoder={"pools": pools}) as running:
        yield running


def test_the_graph_is_spread_over_the_workers(service: LogicalService) -> None:
    found = service.placement()["replicas"]

    assert all("head" not in service.names(name) for name in found)
    assert service.names("VectorIndex-0") == service.names("EmbeddingCache-0") == ["data"]
    assert len(set(service.names("Ingress"))) > 1
    assert len(set(service.names("Tokenizer"))) > 1
    wait_for("the other pool", lambda: service.names("Encoder-gpu") == ["gpu"], WITHIN_S)


def test_a_pool_that_is_lost_costs_no_request(service: LogicalService) -> None:
    _embed(service, "with both pools")
    service.remove("gpu")

    for number in range(20):
        _embed(service, f"without a pool {number}")
    wait_for("no encoder on a GPU", lambda: service.names("Encoder-gpu") == [], WITHIN_S)


def test_requests_go_on_without_a_node(service: LogicalService) -> None:
    """Its replicas come back on the others, as far as a node may hold them."""
    _embed(service, "with all nodes")
    service.remove("cpu")

    for number in range(20):
        _embed(service, f"without a node {number}")
    wait_for("two ingresses", lambda: service.names("Ingress") == ["data", "data"], WITHIN_S)
    for url in service.urls.values():
        assert httpx.get(f"{url}/readyz?require=index").status_code == 200


def _embed(service: LogicalService, text: str) -> None:
    """Embed a text at a node; as a client does, repeat it at another one if that fails."""
    urls = itertools.cycle(service.urls.values())

    def answered() -> bool:
        try:
            answer = httpx.post(
                f"{next(urls)}/v1/embeddings",
                json={"input": text},
                headers=dict(service.headers),
                timeout=WITHIN_S,
            )
        except httpx.TransportError:
            return False
        assert answer.status_code in (200, 502, 503), answer.text
        return answer.status_code == 200

    wait_for("an answer", answered, WITHIN_S)

"""The service on a head without CPUs and two CPU nodes; one with a logical GPU comes and goes."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.nodes import service_file
from tests.nodes.logical_service import LogicalService, served
from tests.nodes.waiting import wait_for

WITHIN_S = 60.0
USED_S = 5.0
SENDERS, PAUSE_S = 4, 0.2
WORDS = "light house winter green road " * 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogicalService]:
    arguments = service_file.arguments()
    cpu, gpu = arguments["encoder"]["pools"]
    # A small load is too much for the encoders on CPUs, so one on a GPU is needed. Ray only counts
    # the GPU, which computes nothing.
    full = {"max_replicas": cpu["min_replicas"], "target_utilization": 0.01}
    pools = [{**cpu, **full}, {**gpu, "max_replicas": 1}]
    folder = tmp_path_factory.mktemp("logical")
    device = {"device": "cpu"}
    with served(folder, ("data", "cpu"), backend=device, encoder={"pools": pools}) as running:
        yield running


def test_the_graph_is_spread_over_the_workers(service: LogicalService) -> None:
    found = service.placement()["replicas"]

    assert all("head" not in service.names(name) for name in found)
    assert service.names("VectorIndex-0") == service.names("EmbeddingCache-0") == ["data"]
    assert len(set(service.names("Ingress"))) > 1
    assert len(set(service.names("Tokenizer"))) > 1
    assert set(service.names("Encoder-cpu")) <= {"data", "cpu"}
    assert service.names("Encoder-gpu") == []


def test_a_pool_is_used_when_its_node_appears_and_its_loss_fails_no_request(
    service: LogicalService,
) -> None:
    def wanted() -> bool:
        return bool(service.placement()["targets"]["Encoder-gpu"] == 1)

    with _requests(service) as statuses:
        wanted_s = wait_for("an encoder on a GPU is wanted", wanted, WITHIN_S)
        assert service.names("Encoder-gpu") == []
        service.add("gpu")
        used_s = wait_for("the pool on a GPU computes", lambda: _computed(service), WITHIN_S)
        assert service.names("Encoder-gpu") == ["gpu"]
        time.sleep(USED_S)
        before = statuses.total()
        service.remove("gpu")
        lost_s = wait_for("no encoder there", lambda: not service.names("Encoder-gpu"), WITHIN_S)
        time.sleep(USED_S)
    sys.stdout.write(
        f"wanted after {wanted_s:.1f} s, used {used_s:.1f} s after its node came, lost after "
        f"{lost_s:.1f} s; {before} answers before the loss, of all {dict(statuses)}\n"
    )

    assert set(statuses) == {200}
    assert statuses.total() > before


def test_requests_go_on_without_a_node(service: LogicalService) -> None:
    """Its replicas come back on the others, as far as a node may hold them."""
    _embed(service, "with all nodes")
    service.remove("cpu")

    for number in range(20):
        _embed(service, f"without a node {number}")
    wait_for("two ingresses", lambda: service.names("Ingress") == ["data", "data"], WITHIN_S)
    for url in service.urls.values():
        assert httpx.get(f"{url}/readyz?require=index").status_code == 200


def _computed(service: LogicalService) -> bool:
    """Return whether an ingress has given the pool on GPUs work."""
    answer = httpx.get(f"{service.urls['data']}/v1/stats", headers=dict(service.headers))
    pools = {pool["deployment"]: pool for pool in answer.json()["pools"]}
    return bool(pools["Encoder-gpu"]["added_tokens"] > 0)


@contextmanager
def _requests(service: LogicalService) -> Iterator[Counter[int]]:
    """Send requests meanwhile to all nodes of the start; yield the statuses, 0 for no answer."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def send(sender: int) -> None:
        urls = itertools.cycle(list(service.urls.values()))
        for number in itertools.count():
            if ended.wait(PAUSE_S):
                return
            try:
                statuses[_post(service, next(urls), f"{sender} {number} {WORDS}").status_code] += 1
            except httpx.TransportError:
                statuses[0] += 1

    with ThreadPoolExecutor() as threads:
        sending = [threads.submit(send, sender) for sender in range(SENDERS)]
        try:
            yield statuses
        finally:
            ended.set()
    for one in sending:
        one.result()


def _post(service: LogicalService, url: str, text: str) -> httpx.Response:
    headers, body = dict(service.headers), {"input": text}
    return httpx.post(f"{url}/v1/embeddings", json=body, headers=headers, timeout=WITHIN_S)


def _embed(service: LogicalService, text: str) -> None:
    """Embed a text at a node; as a client does, repeat it at another one if that fails."""
    urls = itertools.cycle(service.urls.values())

    def answered() -> bool:
        try:
            answer = _post(service, next(urls), text)
        except httpx.TransportError:
            return False
        assert answer.status_code in (200, 502, 503), answer.text
        return answer.status_code == 200

    wait_for("an answer", answered, WITHIN_S)

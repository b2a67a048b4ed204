"""Numeric work runs in its own threads, and is refused if it would wait too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.numeric import similarity as numeric
from deployments.ingress.ranking import bi_encoder
from deployments.ingress.service.numeric_work import LARGE, NumericWork, compute
from embedder.core.cancellation import Cancelled, stop_if_cancelled
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, InvalidVector, Overloaded
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import similarity
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.waiting import LONG_S


def _context(seconds: float) -> RequestContext:
    return RequestContext(deadline=Deadline.after(seconds))


async def test_work_does_not_block_the_event_loop() -> None:
    release = threading.Event()
    with NumericWork(0.5).reserve(1) as reserved:
        work = asyncio.ensure_future(
            compute(_context(LONG_S), "sums", reserved, lambda: release.wait(LONG_S) and 5)
        )
        await asyncio.sleep(0)
        release.set()

        assert await work == 5


async def test_a_caller_stops_waiting_at_its_deadline() -> None:
    release = threading.Event()
    with pytest.raises(DeadlineExceeded) as caught, NumericWork(0.5).reserve(1) as reserved:
        await compute(_context(0.02), "sums", reserved, lambda: release.wait(LONG_S))
    release.set()

    assert str(caught.value) == "the deadline passed while waiting for the sums"


def _stoppable() -> tuple[threading.Event, threading.Event, threading.Event, Callable[[], None]]:
    """Return work that waits, and the events of its start, its continuation and its end."""
    begun, release, stopped = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert release.wait(LONG_S)
        try:
            stop_if_cancelled()
        except Cancelled:
            stopped.set()
            raise

    return begun, release, stopped, work


async def test_running_work_stops_if_its_caller_is_cancelled() -> None:
    begun, release, stopped, work = _stoppable()
    with NumericWork(0.5).reserve(1) as reserved:
        waiting = asyncio.ensure_future(compute(_context(LONG_S), "sums", reserved, work))
        assert await asyncio.to_thread(begun.wait, LONG_S)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    release.set()

    assert await asyncio.to_thread(stopped.wait, LONG_S)


@pytest.mark.usefixtures("virtual_time")
async def test_running_work_stops_after_its_deadline() -> None:
    begun, release, stopped, work = _stoppable()
    with NumericWork(0.5).reserve(1) as reserved:
        waiting = asyncio.ensure_future(compute(_context(LONG_S), "sums", reserved, work))
        assert await asyncio.to_thread(begun.wait, LONG_S)
        with pytest.raises(DeadlineExceeded):
            await waiting
    release.set()

    assert await asyncio.to_thread(stopped.wait, LONG_S)


async def test_an_error_of_the_work_is_raised_to_its_caller() -> None:
    def refuse() -> None:
        raise InvalidVector("a[0]", "is bad")

    with pytest.raises(InvalidVector, match="is bad"), NumericWork(0.5).reserve(1) as reserved:
        await compute(_context(LONG_S), "sums", reserved, refuse)


async def test_small_work_does_not_wait_for_large_work() -> None:
    numeric_work, release = NumericWork(0.5), threading.Event()
    with ExitStack() as stack:
        large = [stack.enter_context(numeric_work.reserve(10 * LARGE, "x", at)) for at in range(8)]
        works = [
            asyncio.ensure_future(
                compute(_context(LONG_S), "sums", one, lambda: release.wait(LONG_S))
            )
            for one in large
        ]
        with numeric_work.reserve(1000, "small") as small:
            assert await compute(_context(LONG_S), "sums", small, lambda: 7) == 7
        with pytest.raises(Overloaded), numeric_work.reserve(2 * LARGE, "one more"):
            pass
        release.set()
        await asyncio.gather(*works)


async def test_clusters_above_the_budget_are_refused_and_block_nothing_else() -> None:
    service, release = FakeService(), threading.Event()
    texts = [f"text {number}" for number in range(2048)]
    with service.numeric_work.reserve(10**12, "held") as reserved:
        running = asyncio.ensure_future(reserved.run(lambda: release.wait(LONG_S)))
        async with service.client() as http:
            refused = await http.post("/v1/cluster", json={"inputs": texts, "k": 1024})
            computed = list(service.encoder.calls)
            similar = await http.post("/v1/similarity", json={"a": [[1, 0]], "b": [[0, 1]]})
            embedded = await http.post("/v1/embeddings", json={"input": "a" * 2640})
        release.set()
        await running

    assert refused.status_code == 429, refused.text
    assert int(refused.headers["retry-after"]) >= 2
    assert int(refused.headers["retry-after-ms"]) > 1000
    assert (similar.status_code, embedded.status_code) == (200, 200)
    assert computed == [], "the texts of what is refused are not embedded"


COMPARISONS: dict[str, dict[str, object]] = {
    "/similarity": {"inputs": {"source_sentence": "a", "sentences": ["ab", "b"]}},
    "/rerank": {"query": "a", "texts": ["ab", "b"], "method": "bi-encoder"},
    "/v1/similarity": {"a": ["a"], "b": ["ab", "b"]},
}


comparisons = pytest.mark.parametrize("path", COMPARISONS)


def _patch_similarity(monkeypatch: pytest.MonkeyPatch, path: str, work: Callable[[], None]) -> None:
    """Run ``work`` before vectors are compared."""
    module = numeric if path == "/v1/similarity" else bi_encoder

    def compare(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> Vectors:
        work()
        return similarity(a, b, metric)

    monkeypatch.setattr(module, "similarity", compare)


@comparisons
async def test_texts_are_compared_in_a_thread_of_numeric_work(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    _patch_similarity(monkeypatch, path, lambda: threads.append(threading.current_thread().name))
    async with FakeService().client() as http:
        answer = await http.post(path, json=COMPARISONS[path])

    assert answer.status_code == 200, answer.text
    assert [name.rpartition("_")[0] for name in threads] == ["numeric-small"]


@comparisons
async def test_a_comparison_with_a_long_wait_is_refused_before_texts_are_embedded(
    path: str,
) -> None:
    service = FakeService()
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(service.numeric_work.reserve(LARGE - 1, number))
        async with service.client() as http:
            refused = await http.post(path, json=COMPARISONS[path])

    assert refused.status_code == 429, refused.text
    assert service.encoder.calls == []


@comparisons
async def test_a_comparison_stops_if_its_caller_is_cancelled(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release, stopped, work = _stoppable()
    _patch_similarity(monkeypatch, path, work)
    async with FakeService().client() as http:
        asked = asyncio.ensure_future(http.post(path, json=COMPARISONS[path]))
        assert await asyncio.to_thread(begun.wait, LONG_S)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    release.set()

    assert await asyncio.to_thread(stopped.wait, LONG_S)

"""A large body is answered as a small one, and is read in a thread beside the event loop."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from deployments.ingress.door.visit import Visit
from deployments.ingress.wire import json_parsing, json_slices, large_bodies
from deployments.ingress.wire.inputs import SHORT, to_inputs, to_vectors
from deployments.ingress.wire.large_bodies import INLINE_BYTES, prepare
from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

PATHS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": [[97, 98], "aab"]},
    "/embed": {"inputs": [[97], [98]]},
    "/tokenize": {"inputs": ["ab"]},
    "/decode": {"ids": [[97, 98]]},
    "/rerank": {"query": "a", "texts": ["b"]},
    "/v1/similarity": {"a": [[1, 2.5]], "b": [[0, 1]]},
    "/v1/cluster": {"inputs": [[1, 2.5], [0, 1]], "k": 1},
    "/v1/collections/c/points": {"points": [{"id": "1", "vector": [1, 2, 3, 4]}]},
    "/v1/collections/c/search": {"vector": [1, 2, 3, 4]},
}


def _everything_is_large(patch: pytest.MonkeyPatch, threads: set[str]) -> None:
    """Read every body as a large one; ``threads`` gets the names of the threads that parse."""
    parse = json_slices.loads_in_slices

    def parsed(content: bytes, *, max_containers: int) -> Any:
        threads.add(threading.current_thread().name)
        return parse(content, max_containers=max_containers, slice_bytes=8)

    patch.setattr(large_bodies, "INLINE_BYTES", 0)
    patch.setattr(json_parsing, "INLINE_BYTES", 0)
    patch.setattr(json_parsing, "loads_in_slices", parsed)


def _stable(answer: Any) -> Any:
    """Leave out what differs between two answers to one request."""
    if isinstance(answer, dict):
        return {key: value for key, value in answer.items() if key != "sequence"}
    return answer


@pytest.mark.parametrize("path", PATHS)
async def test_a_large_body_has_the_answer_of_a_small_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    threads: set[str] = set()
    for large in (False, True):
        service = FakeService()
        await service.model(None)
        async with service.client() as http:
            await http.post("/v1/collections/c/points", json=PATHS["/v1/collections/c/points"])
            with monkeypatch.context() as patch:
                if large:
                    _everything_is_large(patch, threads)
                answers.append(await http.post(path, json=PATHS[path]))

    assert answers[1].status_code == 200
    assert threads == {"large-bodies_0"}
    assert _stable(answers[1].json()) == _stable(answers[0].json())


@pytest.mark.parametrize(
    ("body", "param"), [({"input": ["a", 5]}, "input[1]"), ({"input": 1}, "input")]
)
async def test_a_large_body_that_is_wrong_is_refused_as_a_small_one(
    body: dict[str, Any], param: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _everything_is_large(monkeypatch, set())
    service = FakeService()
    async with service.client() as http:
        response = await http.post("/v1/embeddings", json=body)

    assert refusal(response) == (400, "invalid_input", param)


async def test_a_large_body_of_too_many_lists_is_refused() -> None:
    service = FakeService(max_body_containers=1000)
    rows: list[list[int]] = [[]] * (INLINE_BYTES // 3)
    async with service.client() as http:
        response = await http.post("/v1/embeddings", json={"input": rows})

    assert refusal(response) == (400, "limit_exceeded", "body")
    assert "1000" in message(response)


@pytest.mark.parametrize(("size", "beside"), [(INLINE_BYTES, False), (INLINE_BYTES + 1, True)])
async def test_only_a_large_body_is_prepared_in_a_thread(size: int, beside: bool) -> None:
    thread = await prepare(Visit(0.0, body_bytes=size), threading.current_thread)

    assert (thread is not threading.current_thread()) == beside


@pytest.mark.parametrize("count", [SHORT, SHORT + 1, 40_000])
def test_many_token_ids_are_read_as_few(count: int) -> None:
    ids = list(range(count))
    [read] = to_inputs(ids)

    assert isinstance(read, list) == (count <= SHORT)
    assert list(read) == ids


@pytest.mark.parametrize("token", [2**63, -(2**63)])
async def test_a_token_id_beyond_all_vocabularies_is_refused_with_its_place(token: int) -> None:
    service = FakeService()
    async with service.client() as http:
        response = await http.post("/v1/embeddings", json={"input": [[1] * SHORT + [token]]})

    assert refusal(response) == (400, "invalid_input", f"input[0][{SHORT}]")


def test_a_large_table_is_read_as_its_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 100)).astype(np.float32)

    np.testing.assert_array_equal(to_vectors(rows.tolist(), "a"), rows)

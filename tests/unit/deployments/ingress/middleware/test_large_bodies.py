"""A large body is answered like a small one, and is converted in a thread."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from deployments.ingress.collections import points
from deployments.ingress.collections.bodies import DeleteBody, FetchBody, UpsertBody
from deployments.ingress.collections.search_bodies import SearchBody
from deployments.ingress.middleware import body
from deployments.ingress.middleware.large_bodies import (
    INLINE_BYTES,
)
from deployments.ingress.numeric.clusters import ClusterRequest
from deployments.ingress.routing.router import Router
from deployments.ingress.tei.bodies import SimilarityInputs
from deployments.ingress.tei.scoring_bodies import RerankBody
from deployments.ingress.wire import json_parsing, json_slices
from deployments.ingress.wire.inputs import SHORT, to_inputs, to_vectors
from deployments.ingress.wire.json_slices import MAX_NAME_BYTES
from deployments.ingress.wire.rows import vectors_width
from embedder.core.pairs import ChunkTokens, Pair
from embedder.index.contract.checks import check_metadata
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    CLASSES,
    CROSS,
    FakeService,
    message,
    refusal,
)

PATHS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": [[97, 98], "aab"]},
    "/embed": {"inputs": [[97], [98]]},
    "/tokenize": {"inputs": ["ab"]},
    "/decode": {"ids": [[97, 98]]},
    "/rerank": {"query": "a", "texts": ["b"], "method": "bi-encoder"},
    "/predict": {"inputs": [["a"]], "model": "classes"},
    "/v1/rerank": {"query": "a", "documents": [{"text": "b"}]},
    "/v2/rerank": {"query": "a", "documents": ["b"]},
    "/v1/similarity": {"a": [[1, 2.5]], "b": [[0, 1]]},
    "/v1/cluster": {"inputs": [[1, 2.5], [0, 1]], "k": 1},
    "/v1/collections/c/points": {"points": [{"id": "1", "vector": [1, 2, 3, 4]}]},
    "/v1/collections/c/search": {"vector": [1, 2, 3, 4]},
}


def _everything_is_large(patch: pytest.MonkeyPatch, threads: set[str]) -> None:
    """Convert every body as a large one; ``threads`` gets the names of the parsing threads."""
    parse = json_slices.loads_in_slices

    def parsed(content: bytes, *, max_containers: int) -> Any:
        threads.add(threading.current_thread().name)
        return parse(content, max_containers=max_containers, slice_bytes=8)

    patch.setattr(body, "INLINE_BYTES", 0)
    patch.setattr(json_parsing, "INLINE_BYTES", 0)
    patch.setattr(json_parsing, "loads_in_slices", parsed)


def _stable(answer: Any) -> Any:
    """Remove what differs between two responses to one request."""
    if isinstance(answer, dict):
        return {key: value for key, value in answer.items() if key not in ("sequence", "id")}
    return answer


@pytest.mark.parametrize("path", PATHS)
async def test_a_large_body_has_the_answer_of_a_small_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    threads: set[str] = set()
    for large in (False, True):
        service = FakeService({"name": ALIAS}, {"name": CROSS}, {"name": CLASSES})
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


async def test_a_large_body_is_checked_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: set[str] = set()
    read = Router._read_body

    def noting(metadata: Any) -> None:
        threads.add(threading.current_thread().name)
        check_metadata(metadata)

    def reading(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(points, "check_metadata", noting)
    monkeypatch.setattr(Router, "_read_body", reading)
    _everything_is_large(monkeypatch, threads)
    async with FakeService().client() as http:
        response = await http.post(
            "/v1/collections/c/points", json=PATHS["/v1/collections/c/points"]
        )

    assert response.status_code == 200
    assert threads == {"large-bodies_0"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (FetchBody, {"ids": [1, 2]}),
        (DeleteBody, {"ids": [1, 2]}),
        (UpsertBody, {"points": [1, 2]}),
        (SearchBody, {"queries": [1, 2]}),
        (SearchBody, {"include": ["a", "b"]}),
        (ClusterRequest, {"inputs": ["a"], "k": 1, "include": ["a", "b"]}),
        (RerankBody, {"query": "a", "texts": [1, 2]}),
        (SimilarityInputs, {"source_sentence": "a", "sentences": [1, 2]}),
    ],
)
def test_of_a_list_only_the_first_wrong_item_is_looked_at(
    body: type[BaseModel], wrong: dict[str, Any]
) -> None:
    """A body has room for millions, and an error for each takes 1 µs and 1 kB."""
    with pytest.raises(ValidationError) as complaints:
        body.model_validate(wrong)

    assert complaints.value.error_count() == 1


async def test_more_names_than_there_are_parts_of_a_point_are_refused() -> None:
    async with FakeService().client() as http:
        await http.post("/v1/collections/c/points", json=PATHS["/v1/collections/c/points"])
        fits = await http.post(
            "/v1/collections/c/points/fetch", json={"ids": ["1"], "include": ["text"] * 16}
        )
        more = await http.post(
            "/v1/collections/c/points/fetch", json={"ids": ["1"], "include": ["text"] * 17}
        )

    assert fits.json() == {"points": [{"id": "1", "text": None}]}
    assert refusal(more) == (400, "invalid_input", "include")
    assert "16" in message(more)


async def test_a_name_that_no_field_has_is_refused_without_a_search_for_its_end() -> None:
    body = b'{"' + b"k" * (INLINE_BYTES + 1) + b'": 1}'
    async with FakeService().client() as http:
        response = await http.post(
            "/v1/embeddings", content=body, headers={"content-type": "application/json"}
        )

    assert refusal(response) == (400, "invalid_json", None)
    assert str(MAX_NAME_BYTES) in message(response)


@pytest.mark.parametrize(
    ("items", "width"),
    [
        (["a", [None, "b"]], 2),
        ([{"vector": [None] * 3}], 3),
        ([{"vector": "AACAPwAAgD8="}], 2),
        ([5], 0),
        (["a"], None),
    ],
)
def test_the_width_of_a_vector_is_found_without_its_numbers(
    items: list[Any], width: int | None
) -> None:
    assert vectors_width(items) == width


@pytest.mark.parametrize("count", [SHORT, SHORT + 1, 40_000])
def test_many_token_ids_are_read_as_few(count: int) -> None:
    ids = list(range(count))
    [read] = to_inputs(ids)

    assert isinstance(read, list) == (count <= SHORT)
    assert not isinstance(read, (Pair, ChunkTokens))
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

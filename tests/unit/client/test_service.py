"""The client against the routes of the service, over models of letters."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.ingress.asgi import build_asgi
from embedder_client import (
    AsyncClient,
    ClientError,
    EmbedOptions,
    InvalidRequest,
    NotFound,
    Point,
)
from tests.unit.deployments.ingress.fake_service import ALIAS, CLASSES, CROSS, FakeService
from tests.unit.deployments.ingress.letter_outputs import THREE

NAMES = (ALIAS, CROSS, CLASSES, THREE)


def _client(**limits: Any) -> AsyncClient:
    service = FakeService(*({"name": name} for name in NAMES), **limits)
    transport = httpx.ASGITransport(app=build_asgi(service), raise_app_exceptions=False)
    return AsyncClient("http://test", http=httpx.AsyncClient(transport=transport))


async def test_vectors_are_those_of_the_route() -> None:
    async with _client() as calls:
        vectors = await calls.embed(["ab", "c"], EmbedOptions(normalize=True))
        again = await calls.embed("c")
        compared = await calls.similarity(["ab", "c"], vectors)
        models = await calls.models()
        tokens = await calls.tokenize(["ab"])
    assert vectors.shape[0] == 2
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(again[0], vectors[1])
    assert np.allclose(np.diag(compared), 1, atol=1e-5)
    assert [model["id"] for model in models] == ["all-MiniLM-L6-v2", "cross", "classes", "three"]
    assert len(tokens) == 1


async def test_a_limit_of_inputs_is_met_by_smaller_requests() -> None:
    async with _client(max_inputs=3) as calls:
        assert (await calls.embed(["ab"] * 10)).shape[0] == 10


async def test_a_refused_text_is_named_by_its_place() -> None:
    async with _client(max_characters=5) as calls:
        with pytest.raises(InvalidRequest, match="characters") as error:
            await calls.embed(["ab", "abcdefghijkl"])
    assert error.value.position == 1
    assert error.value.code == "limit_exceeded"


async def test_other_outputs_are_those_of_the_model() -> None:
    async with _client() as calls:
        rows = await calls.embed_outputs(["bab", "d"], ["dense", "sparse", "multi_vector"])
        sparse = await calls.embed_sparse("bab")
        tokens = await calls.embed_tokens(["ba", "d"])
    assert rows.dense is not None
    assert rows.dense.shape[0] == 2
    assert rows.sparse is not None
    assert sparse[0].ids.tolist() == rows.sparse[0].ids.tolist() == [ord("a"), ord("b")]
    assert sparse[0].weights.tolist() == [1.0, 2.0]
    assert rows.tokens is not None
    assert [row.tolist() for row in tokens] == [[[2, 1], [1, 1]], [[4, 1]]]


async def test_texts_are_ranked_and_classified() -> None:
    async with _client() as calls:
        ranked = await calls.rerank("ab", ["xyz", "ab", "a"], top_k=2)
        compared = await calls.rerank("ab", ["xyz", "ab"], bi_encoder=True)
        classes = await calls.classify(["ab", ("ab", "c")])
    assert len(ranked) == 2
    assert ranked[0].score >= ranked[1].score
    assert compared[0].index == 1
    assert len(classes) == 2
    for scores in classes:
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


async def test_chunks_of_each_text_have_their_ranges() -> None:
    async with _client() as calls:
        found = await calls.embed_chunks(["ab cd ef gh ij", "x"], size=8, overlap=0)
        late = await calls.embed_chunks(["aab cd abd"], size=8, overlap=0, late=True)
    assert [(one.start, one.stop) for one in late[0].chunks] == [(0, 6), (7, 10)]
    assert late[0].vectors.shape[0] == 2
    assert len(found) == 2
    assert found[1].chunks[0].start == 0
    for one in found:
        assert one.vectors.shape[0] == len(one.chunks)


async def test_points_are_stored_searched_and_deleted() -> None:
    async with _client(max_points=512) as calls:
        notes = calls.collection("notes")
        with pytest.raises(NotFound):
            await notes.info()
        await notes.create(metric="cosine")
        points = [Point(f"p{row}", "abc"[row % 3], metadata={"n": row}) for row in range(600)]
        last = Point("p0", vector=(await calls.embed("d"))[0], metadata={"n": -1})
        done: list[int] = []
        stored = await notes.upsert(
            [*points, {"id": "extra", "text": "d"}, last], progress=done.append
        )
        hits = await notes.search("d", top_k=2, include=["text", "metadata", "vector"])
        many = await notes.search_many(["d", {"text": "a", "top_k": 1}], filter={"n": {"$gte": 0}})
        read = [point async for point in notes.scroll(limit=250)]
        fetched = await notes.fetch(["p1", "missing", "p0"], include=["vector"])
        deleted = await notes.delete(filter={"n": {"$gte": 300}})
        left = await notes.count()
        names = [one["name"] for one in await calls.collections()]
        await notes.drop()
        with pytest.raises(NotFound):
            await notes.count()
    assert stored.count == sum(done) == 602
    assert {hit.id for hit in hits.hits} == {"extra", "p0"}
    assert hits.hits[0].vector is not None
    assert not hits.partial
    assert [len(one.hits) for one in many] == [10, 1]
    assert sorted(point.id for point in read) == sorted([*(one.id for one in points), "extra"])
    assert [point.id for point in fetched] == ["p1", "p0"]
    assert fetched[1].vector is not None
    assert (deleted, left) == (300, 301)
    assert names == ["notes"]


@pytest.mark.parametrize("text", ["", "\x00", "🙂/../..", "a\ud800"])
async def test_any_text_is_answered_or_refused_by_name(text: str) -> None:
    async with _client() as calls:
        for call in (calls.embed(text), calls.tokenize(text), calls.collection("x").search(text)):
            # Any other exception fails the test.
            with suppress(ClientError):
                await call

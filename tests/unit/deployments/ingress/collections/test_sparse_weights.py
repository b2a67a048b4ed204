"""Sparse weights of texts are stored beside their vectors, and searched as the third ranking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch
from tests.unit.deployments.ingress.collections.plane import Plane
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal
from tests.unit.deployments.ingress.letter_outputs import THREE
from tests.unit.index.sparse.sparse_oracle import best

TEXTS = {"one": "aab", "two": "bdd", "three": "🙂cab", "four": "czz"}
CONTENT = {name: {ord(one): text.count(one) for one in text} for name, text in TEXTS.items()}
"""The weights that the model computes."""

SPARSE: dict[str, Any] = {"weights": {"dense": 0, "lexical": 0, "sparse": 1}}


@pytest.fixture
async def texts() -> AsyncIterator[Plane]:
    """Yield a client of a service with a collection of texts, and a point without weights."""
    service = FakeService({"name": THREE}, {"name": ALIAS}, max_queries=9, max_characters=50)
    async with service.client() as http:
        client = Plane(service, http)
        stored = await client.points(*({"id": one, "text": text} for one, text in TEXTS.items()))
        assert stored.status_code == 200, message(stored)
        await client.points({"id": "bare", "vector": [1, 1, 1, 1], "text": "aab"})
        yield client


async def found(client: Plane, **body: Any) -> list[dict[str, Any]]:
    response = await client.search(**{"top_k": 9, "include": ["scores"], **body})
    assert response.status_code == 200, message(response)
    hits: list[dict[str, Any]] = response.json()["results"]
    return hits


def expected(text: str) -> list[tuple[str, float]]:
    """Return the hits of a text by its weights."""
    return best(CONTENT, {ord(one): text.count(one) for one in text})


@pytest.mark.parametrize("text", ["ab", "🙂d", "zzz", "q"])
async def test_a_ranking_by_weights_alone_has_the_dot_products(texts: Plane, text: str) -> None:
    hits = await found(texts, text=text, hybrid=SPARSE)

    assert [(hit["id"], hit["score"]) for hit in hits] == expected(text)
    for rank, hit in enumerate(hits, 1):
        assert hit["scores"] == {"sparse": {"rank": rank, "score": hit["score"]}}


async def test_three_rankings_are_fused_by_ranks(texts: Plane) -> None:
    weights = {"dense": 1, "lexical": 0.5, "sparse": 2}
    alone = {
        name: {hit["id"]: hit["scores"][name] for hit in await found(texts, text="ab", hybrid=one)}
        for name, one in (
            ("dense", {"weights": {"lexical": 0}}),
            ("lexical", {"weights": {"dense": 0}}),
            ("sparse", SPARSE),
        )
    }
    hits = await found(texts, text="ab", hybrid={"weights": weights})

    assert {hit["id"] for hit in hits} == {*TEXTS, "bare"}
    for rank, hit in enumerate(hits, 1):
        places = {name: ranking.get(hit["id"]) for name, ranking in alone.items()}
        total = sum(weights[name] / (60 + one["rank"]) for name, one in places.items() if one)
        assert hit["score"] == pytest.approx(total)
        assert hit["scores"] == {**places, "fused": {"rank": rank, "score": hit["score"]}}


async def test_a_given_vector_and_the_weights_of_the_text_are_compared(texts: Plane) -> None:
    body: dict[str, Any] = {"text": "ab", "vector": [0, 1, 0, 0]}
    hits = await found(texts, **body, hybrid={"weights": {"lexical": 0, "sparse": 1}})
    dense = [hit["id"] for hit in await found(texts, vector=[0, 1, 0, 0])]
    by_rank = {hit["scores"]["dense"]["rank"]: hit["id"] for hit in hits}

    assert [by_rank[rank] for rank in sorted(by_rank)] == dense
    places = {hit["id"]: hit["scores"]["sparse"] for hit in hits}
    assert [one for one, place in places.items() if place] != []
    assert {one: place["score"] for one, place in places.items() if place} == dict(expected("ab"))


async def test_queries_with_and_without_weights_are_searched_together(texts: Plane) -> None:
    queries: list[dict[str, Any]] = [
        {"text": "ab", "top_k": 9},
        {"text": "ab", "top_k": 9, "hybrid": SPARSE},
        {"text": "ab", "top_k": 9, "hybrid": {"weights": {"dense": 0}}},
        {"id": "one", "top_k": 2},
        {"text": "d", "top_k": 9, "hybrid": {"weights": {"sparse": 3}}},
    ]
    response = await texts.search(queries=queries)
    alone = [(await texts.search(**one)).json()["results"] for one in queries]

    assert response.json()["results"] == alone
    assert [hit["id"] for hit in alone[1]] == [name for name, _ in expected("ab")]


async def test_weights_are_computed_in_the_pass_of_the_vectors_and_for_no_other_search(
    texts: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[tuple[OutputKind, ...]] = []
    encoder = texts.service.encoder
    encode = encoder.encode

    async def recorded(model: Any, tokens: TokenBatch, *rest: Any) -> Any:
        kinds.append(tokens.kinds)
        return await encode(model, tokens, *rest)

    monkeypatch.setattr(encoder, "encode", recorded)
    both = (OutputKind.DENSE, OutputKind.SPARSE)
    await texts.points({"id": "new", "text": "abba"})
    assert kinds == [both]
    await found(texts, text="bad one", hybrid={"weights": {"sparse": 1}})
    assert kinds == [both, both]
    await found(texts, text="cab one")
    await found(texts, text="cab two", hybrid={})
    assert kinds[2:] == [(), ()]
    await texts.points({"id": "letters", "text": "abba"}, name="letters", model=ALIAS)
    assert set(kinds[4:]) == {()}, "also a new model that only shows that it answers"


async def test_writes_are_visible_at_once(texts: Plane) -> None:
    await texts.points({"id": "four", "text": "d new q"})
    assert [hit["id"] for hit in await found(texts, text="zz", hybrid=SPARSE)] == []
    assert [hit["id"] for hit in await found(texts, text="q", hybrid=SPARSE)] == ["four"]
    await texts.points({"id": "four", "vector": [1, 1, 1, 1], "text": "d new q"})
    assert await found(texts, text="q", hybrid=SPARSE) == []
    path = "/v1/collections/plane/points/delete"
    await texts.http.post(path, json={"ids": ["one"]})
    left = [hit["id"] for hit in await found(texts, text="ab", hybrid=SPARSE)]
    assert left == [name for name, _ in expected("ab") if name != "one"]


async def test_chunks_have_the_weights_of_their_texts(texts: Plane) -> None:
    chunking = {"size": 8, "overlap": 0}
    text = "aaa bbb. ccc ddd"
    stored = await texts.points({"id": "long", "text": text}, name="chunks", chunking=chunking)
    assert stored.status_code == 200, message(stored)
    response = await texts.search("chunks", text="d", hybrid=SPARSE, include=["text"])

    assert response.status_code == 200, message(response)
    hits = response.json()["results"]
    assert hits
    for hit in hits:
        assert hit["score"] == hit["text"].count("d")


async def test_weights_are_filtered_and_reranked_hits_show_their_places(texts: Plane) -> None:
    hits = await found(texts, text="ab", hybrid=SPARSE, filter={"x": 1})
    assert hits == []
    high = await found(texts, text="ab", hybrid=SPARSE, score_threshold=3)
    assert [hit["id"] for hit in high] == [one for one, score in expected("ab") if score >= 3]


async def test_models_and_collections_without_weights_are_refused(texts: Plane) -> None:
    field = "hybrid.weights.sparse"
    await texts.points({"id": "a", "text": "ab"}, name="letters", model=ALIAS)
    response = await texts.search("letters", text="ab", hybrid={"weights": {"sparse": 1}})
    assert refusal(response)[0] == 400
    assert field in message(response)
    assert f"{ALIAS!r}, computes no sparse weights" in message(response)
    await texts.points({"id": "a", "vector": [1, 2, 3, 4], "text": "ab"}, name="given")
    queries = [{"text": "ab"}, {"text": "ab", "hybrid": SPARSE}]
    response = await texts.search("given", queries=queries)
    assert refusal(response)[0] == 400
    assert f"queries[1].{field}" in message(response)
    assert "no point of collection 'given' has sparse weights" in message(response)


@pytest.mark.parametrize(
    ("hybrid", "problem"),
    [
        ({"weights": {"dense": 0, "lexical": 0}}, "are all 0"),
        ({"weights": {"sparse": -1}}, "greater than or equal to 0"),
        ({"weights": {"sparse": 1001}}, "less than or equal to 1000"),
    ],
)
async def test_weights_of_rankings_are_limited(
    texts: Plane, hybrid: dict[str, Any], problem: str
) -> None:
    response = await texts.search(text="ab", hybrid=hybrid)

    assert response.status_code in (400, 422)
    assert problem in message(response)

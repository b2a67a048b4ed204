"""Searches of texts by vectors and by words, whose rankings are fused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.search_admission import SearchAdmission
from deployments.settings.service import ServeSettings
from embedder.core.errors import StageUnavailable
from embedder.pipeline.admission_control import AdmissionControl
from tests.unit.deployments.ingress.collections.plane import Plane
from tests.unit.deployments.ingress.collections.reader import ReadingService
from tests.unit.deployments.ingress.fake_service import message, refusal
from tests.unit.deployments.local_handle import LocalHandle, as_handle

TEXTS = {
    "ac": "ac 漢字 zebra",
    "cab": "cab cab zebra",
    "bad": "bad, Bad! b",
    "dab": "dab café",
    "aab": "aab zebra aab",
}
WORDS: dict[str, Any] = {"weights": {"dense": 0}}
"""Of a search by words alone."""


async def write(client: Plane) -> None:
    points = [
        {"id": one, "text": text, "metadata": {"long": len(text) > 10}}
        for one, text in TEXTS.items()
    ]
    assert (await client.points(*points)).status_code == 200
    bare = {"id": "bare", "vector": [1, 1, 1, 1]}
    assert (await client.points(bare)).status_code == 200


@pytest.fixture
async def texts() -> AsyncIterator[Plane]:
    """Yield a client of a service with a collection of texts, and one point without a text."""
    service = ReadingService(max_queries=4, max_inputs=100, max_characters=50)
    async with service.client() as http:
        client = Plane(service, http)
        await write(client)
        yield client


async def found(client: Plane, **body: Any) -> list[dict[str, Any]]:
    response = await client.search(**{"top_k": 6, "include": ["scores"], **body})
    assert response.status_code == 200, message(response)
    hits: list[dict[str, Any]] = response.json()["results"]
    return hits


def place(hit: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if hit is None else next(iter(hit["scores"].values()))


@pytest.mark.parametrize("weights", [{}, {"lexical": 3}, {"dense": 0.25, "lexical": 1000}])
async def test_ranks_in_both_rankings_are_fused(texts: Plane, weights: dict[str, float]) -> None:
    dense = {hit["id"]: hit for hit in await found(texts, text="bad zebra")}
    words = {hit["id"]: hit for hit in await found(texts, text="bad zebra", hybrid=WORDS)}
    hits = await found(texts, text="bad zebra", hybrid={"weights": weights})
    by_id = {hit["id"]: hit for hit in hits}

    assert set(words) == {"ac", "cab", "bad", "aab"}
    assert set(by_id) == {*TEXTS, "bare"}
    for rank, hit in enumerate(hits, 1):
        places = {"dense": place(dense[hit["id"]]), "lexical": place(words.get(hit["id"]))}
        expected = sum(
            weights.get(name, 1) / (60 + one["rank"]) for name, one in places.items() if one
        )
        assert hit["score"] == pytest.approx(expected)
        assert hit["scores"] == {**places, "fused": {"rank": rank, "score": hit["score"]}}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


async def test_scaled_scores_are_fused_by_weights(texts: Plane) -> None:
    weights = {"dense": 0.5, "lexical": 2}
    hits = await found(texts, text="dab", hybrid={"fusion": "weights", "weights": weights})
    scores = [hit["scores"]["dense"]["score"] for hit in hits]
    least, most = min(scores), max(scores)

    for hit in hits:
        dense = (hit["scores"]["dense"]["score"] - least) / (most - least)
        lexical = 1 if hit["id"] == "dab" else 0
        assert hit["score"] == pytest.approx(0.5 * dense + 2 * lexical)


async def test_a_search_by_words_alone_computes_no_vector_and_has_the_scores_of_words(
    texts: Plane,
) -> None:
    assert isinstance(texts.service, ReadingService)
    encoded = len(texts.service.reading.calls)
    hits = await found(texts, text="CAFÉ", hybrid=WORDS)

    assert [hit["id"] for hit in hits] == ["dab"]
    assert hits[0]["scores"] == {"lexical": {"rank": 1, "score": hits[0]["score"]}}
    assert hits[0].keys() == {"id", "score", "scores"}
    assert len(texts.service.reading.calls) == encoded


async def test_words_alone_need_no_model(texts: Plane) -> None:
    point = {"id": "own", "vector": [1, 2, 3], "text": "漢字 own"}
    await texts.points(point, name="own")
    by_words = await texts.search("own", text="漢字", hybrid=WORDS)
    both = await texts.search("own", text="own", vector=[3, 2, 1], hybrid={}, include=["text"])

    assert [hit["id"] for hit in by_words.json()["results"]] == ["own"]
    assert [hit["text"] for hit in both.json()["results"]] == ["漢字 own"]
    assert (await texts.describe("own")).json()["model"] is None


async def test_without_a_weight_of_words_only_vectors_are_compared(texts: Plane) -> None:
    hits = await found(texts, text="bad", hybrid={"weights": {"lexical": 0}})

    assert hits == await found(texts, text="bad")


async def test_text_that_no_point_has_leaves_the_ranking_by_vectors(texts: Plane) -> None:
    hits = await found(texts, text="🙂 \x00 d", hybrid={})

    assert len(hits) == 6
    assert all(hit["scores"]["lexical"] is None for hit in hits)


async def test_both_rankings_are_filtered_and_cut(texts: Plane) -> None:
    body: dict[str, Any] = {"text": "zebra cab dab", "filter": {"long": True}}
    hits = await found(texts, **body, hybrid={})
    few = await found(texts, **body, top_k=1, hybrid={"candidates": 1})
    threshold = hits[1]["score"]
    high = await found(texts, **body, hybrid={}, score_threshold=threshold)

    assert {hit["id"] for hit in hits} == {"ac", "cab", "bad", "aab"}
    assert few[0]["scores"]["fused"]["rank"] == 1
    assert len(few) == 1
    assert high == [hit for hit in hits if hit["score"] >= threshold] != hits


async def test_what_is_written_is_found_at_once_and_what_is_deleted_no_longer(
    texts: Plane,
) -> None:
    await texts.points({"id": "new", "text": "a brandnew zebra"})
    new = await found(texts, text="brandnew", hybrid=WORDS)
    await texts.http.post("/v1/collections/plane/points/delete", json={"ids": ["new"]})

    assert [hit["id"] for hit in new] == ["new"]
    assert await found(texts, text="brandnew", hybrid=WORDS) == []


async def test_fused_hits_are_reranked(texts: Plane) -> None:
    rerank = {"candidates": 3}
    fused = await found(texts, text="zebra", vector=[1, 0, 0, 0], hybrid={}, top_k=3)
    hits = await found(texts, text="zebra", vector=[1, 0, 0, 0], hybrid={}, top_k=3, rerank=rerank)

    assert {hit["id"] for hit in hits} == {hit["id"] for hit in fused}
    assert all(hit["scores"].keys() == {"dense", "lexical", "fused", "rerank"} for hit in hits)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


async def test_each_query_has_its_own_rankings(texts: Plane) -> None:
    response = await texts.search(
        queries=[
            {"text": "café", "hybrid": WORDS},
            {"id": "bad", "top_k": 2},
            {"text": "café", "top_k": 2, "hybrid": {}},
            {"text": "none", "hybrid": WORDS},
        ]
    )
    words, by_id, both, none = response.json()["results"]

    assert [hit["id"] for hit in words] == ["dab"]
    assert by_id == (await found(texts, id="bad", top_k=2, include=[]))
    assert both[0]["id"] == "dab"
    assert len(both) == 2
    assert none == []


@pytest.mark.parametrize(
    ("body", "field", "word"),
    [
        ({"vector": [1, 0, 0, 0]}, "hybrid", "'text'"),
        ({"id": "ac"}, "hybrid", "'text'"),
        ({"vector": [1, 0, 0, 0], "text": ""}, "text", "empty"),
        ({"text": "a" * 51}, "text", "limit is 50"),
        ({"text": "a", "diversity": 0.5}, "diversity", "hybrid"),
        ({"text": "a", "hybrid": True}, "hybrid", ""),
        ({"text": "a", "hybrid": {"fusion": "sum"}}, "hybrid.fusion", "rrf"),
        ({"text": "a", "hybrid": {"weights": {"dense": 0, "lexical": 0}}}, "hybrid.weights", "0"),
        ({"text": "a", "hybrid": {"weights": {"dense": -1}}}, "hybrid.weights.dense", "0"),
        ({"text": "a", "hybrid": {"weights": {"lexical": 1001}}}, "hybrid.weights.lexical", "1000"),
        ({"text": "a", "hybrid": {"weights": {"words": 1}}}, "hybrid.weights.words", ""),
        ({"text": "a", "hybrid": {"candidates": 0}}, "hybrid.candidates", "1"),
        ({"text": "a", "hybrid": {"candidates": 1001}}, "hybrid.candidates", "1000"),
        ({"text": "a", "top_k": 6, "hybrid": {"candidates": 5}}, "hybrid.candidates", "is 6"),
        ({"text": "a", "vector": [1, 0, 0, 0], "hybrid": WORDS}, "vector", "not used"),
    ],
)
async def test_a_hybrid_search_that_cannot_be_answered_is_refused_by_its_field(
    texts: Plane, body: dict[str, Any], field: str, word: str
) -> None:
    alone = await texts.search(**{"hybrid": {}, **body})
    among = await texts.search(queries=[{"text": "a"}, {"hybrid": {}, **body}])

    assert (refusal(alone)[0], refusal(alone)[2]) == (400, field)
    assert word in message(alone)
    assert refusal(among)[2] == f"queries[1].{field}"


async def test_the_limits_are_allowed(texts: Plane) -> None:
    weights = {"dense": 1000, "lexical": 1000}
    for top_k, candidates in ((1, 1), (6, 6), (1000, 1000)):
        hybrid = {"weights": weights, "candidates": candidates}
        response = await texts.search(text="a" * 50, top_k=top_k, hybrid=hybrid)
        assert response.status_code == 200, message(response)


async def test_without_the_collection_the_name_is_refused(texts: Plane) -> None:
    for hybrid in ({}, WORDS):
        response = await texts.search("none", text="a", hybrid=hybrid)
        assert refusal(response)[:2] == (404, "collection_not_found")


async def test_a_lost_shard_is_missing_once() -> None:
    service = ReadingService()
    settings = ServeSettings.model_validate({"data_directory": None, "index": {"shards": 2}})
    names = [f"VectorIndex-{at}" for at in range(2)]
    handles = {name: LocalHandle(IndexReplica(settings, name)) for name in names}
    service.index = RemoteIndex({name: as_handle(one) for name, one in handles.items()})
    service.search_admission = SearchAdmission(service.index, AdmissionControl())
    async with service.client() as http:
        client = Plane(service, http)
        await write(client)
        whole = await client.search(text="zebra a", hybrid={}, rerank={})
        handles[names[1]].fault = StageUnavailable(names[1], "gone")
        part = await client.search(text="zebra a", hybrid={}, rerank={})
        words = await client.search(text="zebra a", hybrid=WORDS)
        complete = await client.search(text="zebra a", hybrid={}, complete=True)

    assert whole.json()["partial"] is False
    assert len(whole.json()["results"]) == 6
    assert (part.json()["partial"], part.json()["missing"]) == (True, [names[1]])
    assert 0 < len(part.json()["results"]) < 6
    assert words.json()["missing"] == [names[1]]
    assert complete.status_code == 503

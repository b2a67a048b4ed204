"""Searches whose hits a cross-encoder reads and orders again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedder.core.errors import BackendFailure, Overloaded, StageUnavailable
from tests.unit.deployments.ingress.collections import reader
from tests.unit.deployments.ingress.collections.plane import Plane
from tests.unit.deployments.ingress.collections.reader import JUDGE, READER, ReadingService
from tests.unit.deployments.ingress.fake_service import ALIAS, message, refusal
from tests.unit.deployments.ingress.letter_tokenizer import MAX_TOKENS

TEXTS = {"one": "aab", "two": "abzz", "three": "aaaabbbb", "four": "bd", "five": "🙂\x00éc"}


def expected_score(query: str, text: str) -> float:
    """Return what the reader says of a pair."""
    return sum(1.0 if letter in query else -0.5 for letter in text[: MAX_TOKENS - len(query)])


def order_of(query: str) -> list[str]:
    """Return the ids in the order of the reader."""
    return sorted(TEXTS, key=lambda one: -expected_score(query, TEXTS[one]))


@pytest.fixture
async def texts() -> AsyncIterator[Plane]:
    """Yield a client of a service with a collection of texts, and one point without a text."""
    service = ReadingService(max_queries=4, max_inputs=100, max_characters=50)
    async with service.client() as http:
        client = Plane(service, http)
        points = [
            {"id": one, "text": text, "metadata": {"long": len(text) > 3}}
            for one, text in TEXTS.items()
        ]
        await client.points(*points, name="plane")
        await client.points({"id": "bare", "vector": [2, 1, 0, 0]}, name="plane")
        yield client


def encoder_of(client: Plane) -> Any:
    assert isinstance(client.service, ReadingService)
    return client.service.reading


def tokenizer_of(client: Plane) -> Any:
    return client.service.handles["tokenizer"]._stage


async def test_hits_are_ordered_by_the_model_and_those_without_a_text_come_last(
    texts: Plane,
) -> None:
    plain = await texts.search(text="ab", top_k=6)
    response = await texts.search(text="ab", top_k=6, rerank={}, include=["text"])
    found = response.json()

    assert [hit["id"] for hit in found["results"]] == [*order_of("ab"), "bare"]
    assert [hit["id"] for hit in plain.json()["results"]] != [*order_of("ab"), "bare"]
    assert found["results"][0] == {"id": "three", "score": 6.0, "text": "aaaabbbb"}
    assert found["results"][-1] == {"id": "bare", "score": None, "text": None}
    assert found["partial"] is False


async def test_the_scores_of_each_list_come_if_they_are_asked_for(texts: Plane) -> None:
    plain = (await texts.search(text="ab", top_k=6, include=["scores"])).json()["results"]
    body: dict[str, Any] = {"text": "ab", "top_k": 6, "rerank": {"model": READER}}
    hits = (await texts.search(**body, include=["scores"])).json()["results"]
    dense = {hit["id"]: {"score": hit["score"], "rank": rank} for rank, hit in enumerate(plain, 1)}

    assert [hit["scores"] for hit in plain] == [{"dense": one} for one in dense.values()]
    for rank, hit in enumerate(hits, 1):
        reranked = {"score": hit["score"], "rank": rank} if hit["id"] != "bare" else None
        assert hit.keys() == {"id", "score", "scores"}
        assert hit["scores"] == {"dense": dense[hit["id"]], "rerank": reranked}


async def test_the_threshold_is_that_of_the_model_and_leaves_out_what_it_cannot_read(
    texts: Plane,
) -> None:
    body: dict[str, Any] = {"text": "ab", "top_k": 6, "rerank": {}}
    found = await texts.search(**body, score_threshold=1.0)

    assert [hit["id"] for hit in found.json()["results"]] == ["three", "one", "two"]


async def test_only_candidates_of_the_filter_are_read(texts: Plane) -> None:
    body: dict[str, Any] = {"text": "ab", "top_k": 1, "filter": {"long": False}}
    found = await texts.search(**body, rerank={"candidates": 2})
    (pairs,) = [call for call in tokenizer_of(texts).calls if len(call) == 2]

    assert [hit["id"] for hit in found.json()["results"]] == ["one"]
    assert {pair.text for pair in pairs} == {"aab", "bd"}
    assert {pair.query for pair in pairs} == {"ab"}


async def test_a_text_may_stand_beside_the_vector_that_searches(texts: Plane) -> None:
    body: dict[str, Any] = {"vector": [0, 1, 0, 1], "text": "d", "top_k": 1, "rerank": {}}
    found = await texts.search(**body, include=["scores"])
    (hit,) = found.json()["results"]

    assert (hit["id"], hit["score"]) == ("four", 0.5)
    assert hit["scores"]["dense"] == {"score": pytest.approx(1.0), "rank": 1}
    assert not encoder_of(texts).calls[1:], "the text beside the vector is not embedded"


async def test_each_query_is_reranked_as_it_asks(texts: Plane) -> None:
    response = await texts.search(
        queries=[
            {"text": "ab", "top_k": 2, "rerank": {}},
            {"text": "ab", "top_k": 2},
            {"text": "zd", "top_k": 2, "rerank": {"model": READER, "candidates": 6}},
            {"id": "one", "top_k": 1, "include": ["scores"]},
        ]
    )
    first, second, third, fourth = response.json()["results"]

    assert [hit["id"] for hit in first] == order_of("ab")[:2]
    assert [hit["score"] for hit in second] == sorted(
        (hit["score"] for hit in second), reverse=True
    )
    assert [hit["id"] for hit in third] == order_of("zd")[:2]
    assert fourth[0]["scores"].keys() == {"dense"}


@pytest.mark.parametrize(("vector", "order"), [([1, 0], ["a", "b"]), ([0, 1], ["b", "a"])])
async def test_equal_scores_stay_in_the_order_of_the_search(
    texts: Plane, vector: list[int], order: list[str]
) -> None:
    points = [
        {"id": "a", "vector": [2, 1], "text": "aab"},
        {"id": "b", "vector": [1, 2], "text": "abb"},
    ]
    await texts.points(*points, name="same")
    found = await texts.search("same", vector=vector, text="ab", rerank={})

    assert [hit["id"] for hit in found.json()["results"]] == order
    assert [hit["score"] for hit in found.json()["results"]] == [3.0, 3.0]


async def test_a_stored_text_above_the_limit_of_characters_is_cut(texts: Plane) -> None:
    await texts.points({"id": "long", "vector": [1, 0, 0, 0], "text": "a" * 51})
    found = await texts.search(text="a", top_k=1, rerank={})

    assert found.json()["results"] == [{"id": "long", "score": 7.0}]


@pytest.mark.parametrize(
    ("body", "status", "code", "field", "word"),
    [
        ({"vector": [1, 0, 0, 0]}, 400, "invalid_input", "rerank", "'text'"),
        ({"id": "one"}, 400, "invalid_input", "rerank", "'text'"),
        ({"vector": [1, 0, 0, 0], "text": ""}, 400, "invalid_input", "text", "empty"),
        ({"text": "a", "id": "one"}, 400, "invalid_input", "id", "one of"),
        ({"text": "a" * 51}, 400, "limit_exceeded", "text", "limit is 50"),
        ({"text": "a", "diversity": 0}, 400, "invalid_input", "diversity", "rerank"),
        ({"text": "a", "rerank": 5}, 400, "invalid_input", "rerank", ""),
        (
            {"text": "a", "rerank": {"candidates": 0}},
            400,
            "invalid_input",
            "rerank.candidates",
            "1",
        ),
        (
            {"text": "a", "rerank": {"candidates": 1001}},
            *(400, "invalid_input", "rerank.candidates", "1000"),
        ),
        (
            {"text": "a", "top_k": 6, "rerank": {"candidates": 5}},
            *(400, "invalid_input", "rerank.candidates", "at least top_k, which is 6"),
        ),
        (
            {"text": "a", "rerank": {"candidates": 101}},
            *(400, "limit_exceeded", "rerank.candidates", "limit is 100"),
        ),
        ({"text": "a", "rerank": {"method": "x"}}, 400, "invalid_input", "rerank.method", "cross"),
        ({"text": "a", "rerank": {"top": 1}}, 400, "invalid_input", "rerank.top", ""),
        ({"text": "a", "rerank": {"model": "🙂"}}, 404, "model_not_found", "rerank.model", "🙂"),
    ],
)
async def test_what_cannot_be_reranked_is_refused_by_its_field(
    texts: Plane, body: dict[str, Any], status: int, code: str, field: str, word: str
) -> None:
    alone = await texts.search(**{"rerank": {}, **body})
    among = await texts.search(queries=[{"text": "a"}, {"rerank": {}, **body}])
    whole = "limit is 100" in word  # concerns all queries together

    assert refusal(alone) == (status, code, field)
    assert word in message(alone)
    assert refusal(among) == (status, code, field if whole else f"queries[1].{field}")


@pytest.mark.parametrize("model", [ALIAS, JUDGE])
async def test_a_model_that_cannot_rank_is_refused(texts: Plane, model: str) -> None:
    response = await texts.search(text="a", rerank={"model": model})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "rerank.model"
    assert repr(model) in message(response)


async def test_the_limits_of_candidates_are_allowed(texts: Plane) -> None:
    for top_k, candidates in ((1, 100), (6, 6), (100, 100)):
        response = await texts.search(text="a", top_k=top_k, rerank={"candidates": candidates})
        assert response.status_code == 200, message(response)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (StageUnavailable("Encoder", "gone"), 503, "stage_unavailable"),
        (BackendFailure("it burns"), 500, "internal_error"),
        (Overloaded(2.0), 429, "overloaded"),
    ],
)
async def test_a_search_fails_if_the_model_cannot_read_the_texts(
    texts: Plane, fault: Exception, status: int, code: str
) -> None:
    encoder_of(texts).fault = fault
    response = await texts.search(text="a", rerank={})

    assert refusal(response)[:2] == (status, code)


async def test_without_candidates_no_model_is_asked(texts: Plane) -> None:
    found = await texts.search(text="a", rerank={}, filter={"long": "never"})

    assert found.json() == {"results": [], "partial": False}


async def test_scores_that_a_sigmoid_makes_equal_stay_ordered(
    texts: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder_of(texts).activation = "sigmoid"
    monkeypatch.setattr(reader, "FACTOR", 10.0)
    hits = (await texts.search(text="ab", top_k=2, rerank={})).json()["results"]

    assert [(hit["id"], hit["score"]) for hit in hits] == [("three", 1.0), ("one", 1.0)]

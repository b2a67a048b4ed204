"""Searches whose hits are ordered by MaxSim of token vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.ingress.collections import multi_vector
from embedder.core.errors import StageUnavailable
from embedder.core.types import InputType
from tests.unit.deployments.ingress.collections.plane import Plane
from tests.unit.deployments.ingress.collections.reader import (
    MATCHER,
    READER,
    ReadingService,
    tokens_of,
)
from tests.unit.deployments.ingress.fake_service import refusal

TEXTS = {"one": "aab", "two": "azz", "three": "🙂 cab", "four": "bd"}
METHOD: dict[str, Any] = {"method": "multi-vector"}


def expected_score(query: str, text: str) -> float:
    """Return MaxSim by its formula."""
    return float((tokens_of(query) @ tokens_of(text).T).max(axis=1).sum())


@pytest.fixture
async def texts() -> AsyncIterator[Plane]:
    """Yield a client of a service with a collection of texts, and one point without a text."""
    service = ReadingService(max_queries=4, max_inputs=200)
    async with service.client() as http:
        client = Plane(service, http)
        await client.points(*({"id": one, "text": text} for one, text in TEXTS.items()))
        await client.points({"id": "bare", "vector": [2, 1, 0, 0]})
        yield client


def service_of(client: Plane) -> ReadingService:
    assert isinstance(client.service, ReadingService)
    return client.service


async def test_hits_are_ordered_by_maxsim(texts: Plane) -> None:
    response = await texts.search(text="bad", rerank=METHOD, include=["scores"])
    hits = response.json()["results"]
    expected = {one: expected_score("bad", text) for one, text in TEXTS.items()}

    assert [hit["id"] for hit in hits] == [
        *sorted(expected, key=lambda one: -expected[one]),
        "bare",
    ]
    for rank, hit in enumerate(hits[:-1], 1):
        assert hit["score"] == pytest.approx(expected[hit["id"]], abs=1e-5)
        assert hit["scores"]["rerank"] == {"rank": rank, "score": hit["score"]}
    assert (hits[-1]["score"], hits[-1]["scores"]["rerank"]) == (None, None)


@pytest.mark.parametrize("group", [1, 3, 4, 64])
async def test_texts_are_compared_in_groups_and_each_query_with_its_own(
    texts: Plane, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(multi_vector, "GROUP", group)
    rerank = {**METHOD, "model": MATCHER}
    queries = [{"text": query, "rerank": rerank} for query in ("bad", "cab", "bad")]
    response = await texts.search(queries=[*queries, {"text": "a", "rerank": {"model": READER}}])
    answers = response.json()["results"]

    for query, hits in zip(queries, answers[:3], strict=True):
        scores = {hit["id"]: hit["score"] for hit in hits if hit["id"] != "bare"}
        assert scores == pytest.approx(
            {one: expected_score(str(query["text"]), text) for one, text in TEXTS.items()}, abs=1e-5
        )
    read = service_of(texts).matched
    assert read[0] == (["bad", "cab"], InputType.QUERY)
    assert {kind for _, kind in read[1:]} == {InputType.DOCUMENT}
    assert max(len(some) for some, _ in read[1:]) == min(group, 12)


@pytest.mark.parametrize(
    ("model", "method"), [(READER, "multi-vector"), (MATCHER, "cross-encoder")]
)
async def test_a_model_of_the_other_method_is_refused(
    texts: Plane, model: str, method: str
) -> None:
    response = await texts.search(text="a", rerank={"model": model, "method": method})

    assert refusal(response) == (400, "unsupported_task", "rerank.model")


async def test_a_search_fails_if_tokens_cannot_be_computed(texts: Plane) -> None:
    service_of(texts).reading.fault = StageUnavailable("Encoder", "gone")
    response = await texts.search(text="a", rerank=METHOD)

    assert refusal(response)[:2] == (503, "stage_unavailable")


@pytest.mark.parametrize(
    ("max_tokens", "texts"), [(8, 64), (512, 64), (513, 63), (8192, 4), (32_768, 1), (32_769, 1)]
)
def test_a_group_has_at_most_so_many_texts_and_tokens(max_tokens: int, texts: int) -> None:
    assert multi_vector.group_size(max_tokens) == texts

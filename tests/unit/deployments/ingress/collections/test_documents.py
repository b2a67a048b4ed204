"""Long texts of points: stored as chunks, found once for each text, replaced and deleted together.

The fake model reads eight tokens, and every character is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.index.contract.documents import MAX_DOCUMENT_ID_BYTES
from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal
from tests.unit.index.hostile_strings import ANY_TEXT, IDS

DOCS = "/v1/collections/docs"
TEXT = "aaa bbb. ccc ddd"
PLAIN = {"size": 8, "overlap": 0}


class Docs:
    """A client of a service with the collection ``docs``."""

    def __init__(self, service: FakeService, http: httpx.AsyncClient) -> None:
        self.service, self.http = service, http

    async def put(self, *points: Any, chunking: Any = PLAIN, **fields: Any) -> httpx.Response:
        body = {"points": points, "chunking": chunking, **fields}
        return await self.http.post(f"{DOCS}/points", json=body)

    async def post(self, route: str, **body: Any) -> httpx.Response:
        return await self.http.post(f"{DOCS}/{route}", json=body)

    async def points(self) -> dict[str, Any]:
        page = await self.post("points/scroll", include=["text", "metadata"])
        return {one["id"]: (one["text"], one["metadata"]) for one in page.json()["points"]}


@pytest.fixture
async def docs() -> AsyncIterator[Docs]:
    service = FakeService(max_points=6, max_characters=50)
    async with service.client() as http:
        yield Docs(service, http)


def _place(document: str, number: int, start: int, end: int) -> dict[str, Any]:
    return {"document": document, "number": number, "start": start, "end": end}


async def test_each_chunk_is_a_point_with_its_place(docs: Docs) -> None:
    response = await docs.put({"id": "one", "text": TEXT, "metadata": {"n": 1}})
    first, second = _place("one", 0, 0, 8), _place("one", 1, 9, 16)

    assert response.json() == {
        "upserted": 2,
        "sequence": 1,
        "chunks": [{"id": "one#0", **first, "tokens": 8}, {"id": "one#1", **second, "tokens": 7}],
    }
    assert await docs.points() == {
        "one#0": ("aaa bbb.", {"n": 1, "chunk": first}),
        "one#1": ("ccc ddd", {"n": 1, "chunk": second}),
    }


async def test_an_upsert_without_chunking_has_the_answer_of_before(docs: Docs) -> None:
    response = await docs.put({"id": "one", "text": TEXT}, chunking=None)

    assert response.json() == {"upserted": 1, "sequence": 1}


async def test_a_search_finds_the_chunk(docs: Docs) -> None:
    await docs.put({"id": "one", "text": TEXT}, {"id": "two", "text": "a"})
    found = await docs.post("search", text="d", top_k=1, include=["text", "metadata"])
    (hit,) = found.json()["results"]
    start, end = hit["metadata"]["chunk"]["start"], hit["metadata"]["chunk"]["end"]

    assert (hit["id"], hit["text"]) == ("one#1", "ccc ddd")
    assert TEXT[start:end] == "ccc ddd"


async def test_a_document_is_replaced_and_deleted_as_a_whole(docs: Docs) -> None:
    await docs.put({"id": "one", "text": TEXT}, {"id": "two", "text": TEXT})
    await docs.put({"id": "one", "text": "a"})

    assert (await docs.points()).keys() == {"one#0", "two#0", "two#1"}
    deleted = await docs.post("points/delete", documents=["two", "gone"])
    assert deleted.json()["deleted"] == 2
    assert (await docs.points()).keys() == {"one#0"}


async def test_chunks_are_selected_by_a_filter(docs: Docs) -> None:
    await docs.put({"id": "one", "text": TEXT}, {"id": "two", "text": "a"})
    count = await docs.post("points/count", filter={"chunk.document": "one"})

    assert count.json() == {"count": 2}


@pytest.mark.parametrize(("most", "ids"), [(1, ["one", "two"]), (2, ["one", "one"])])
async def test_a_search_returns_a_limited_number_of_chunks_per_document(
    docs: Docs, most: int, ids: list[str]
) -> None:
    await docs.put({"id": "one", "text": "aaaaaaa aaaaaaa aaaaaaa"}, {"id": "two", "text": "ab"})
    found = await docs.post("search", text="a", top_k=2, per_document=most)

    assert [hit["id"].split("#")[0] for hit in found.json()["results"]] == ids
    assert [hit.keys() for hit in found.json()["results"]] == [{"id", "score"}] * 2


async def test_a_document_of_many_chunks_does_not_hide_the_others() -> None:
    service = FakeService()
    async with service.client() as http:
        docs = Docs(service, http)
        many = " ".join(["aaaaaaa"] * 260)
        await docs.put({"id": "many", "text": many}, {"id": "few", "text": "abbb"})
        found = await docs.post("search", text="a", top_k=2, per_document=1)
        best = await docs.post("search", text="a", top_k=1, per_document=1)

    assert [hit["id"].split("#")[0] for hit in found.json()["results"]] == ["many", "few"]
    assert len(best.json()["results"]) == 1


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1"])
async def test_the_limit_per_document_is_a_number_from_one(docs: Docs, value: Any) -> None:
    response = await docs.post("search", text="a", per_document=value)

    assert refusal(response) == (400, "invalid_input", "per_document")


@pytest.mark.parametrize(
    ("point", "code", "field"),
    [
        ({"id": "b", "vector": [1, 2, 3, 4]}, "invalid_input", "points[1].vector"),
        ({"id": "b"}, "invalid_input", "points[1]"),
        ({"id": "b", "text": " \n"}, "invalid_input", "points[1].text"),
        ({"id": "b", "text": ""}, "invalid_input", "points[1].text"),
        ({"id": "b", "text": "a" * 51}, "limit_exceeded", "points[1].text"),
        ({"id": "a", "text": "b"}, "invalid_input", "points[1].id"),
        ({"id": "b" * 241, "text": "b"}, "limit_exceeded", "points[1].id"),
        ({"id": "b", "text": "b", "metadata": {"chunk": 1}}, "invalid_input", "points[1].metadata"),
    ],
)
async def test_a_document_that_cannot_be_stored_is_refused_by_its_number(
    docs: Docs, point: dict[str, Any], code: str, field: str
) -> None:
    response = await docs.put({"id": "a", "text": TEXT}, point)

    assert refusal(response) == (400, code, field)


async def test_an_error_of_the_index_names_the_document(docs: Docs) -> None:
    await docs.http.put(DOCS, json={"metric": "cosine"})
    response = await docs.put({"id": "a", "text": TEXT}, {"id": "b", "text": "a " * 20 + "xyz"})

    assert refusal(response) == (400, "limit_exceeded", "points")
    zero = await docs.put({"id": "a", "text": TEXT}, {"id": "b", "text": "xyz"})
    assert refusal(zero) == (400, "invalid_vector", "points[1].text")


async def test_points_with_chunks_are_limited(docs: Docs) -> None:
    most = await docs.put({"id": "a", "text": " ".join(["aaaaaaa"] * 6)})
    more = await docs.put({"id": "a", "text": " ".join(["aaaaaaa"] * 6)}, {"id": "b", "text": "b"})

    assert len(most.json()["chunks"]) == 6
    assert refusal(more) == (400, "limit_exceeded", "points")
    assert "has 7 items; the limit is 6" in message(more)


SHORT_IDS = IDS.filter(lambda name: len(name.encode()) <= MAX_DOCUMENT_ID_BYTES)
TEXTS = ANY_TEXT.filter(lambda text: text.strip() != "")


@given(st.dictionaries(SHORT_IDS, TEXTS, min_size=1, max_size=4), st.data())
@settings(max_examples=15, deadline=None)
def test_any_text_comes_back_by_its_ranges(texts: dict[str, str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(texts)))

    async def check() -> None:
        service = FakeService()
        async with service.client() as http:
            docs = Docs(service, http)
            await http.put(DOCS, json={"metric": "l2"})  # a cosine needs one of the letters a to d
            points = [{"id": name, "text": text} for name, text in texts.items()]
            for _ in range(2):  # a retry changes nothing
                response = await docs.put(*points)
            assert response.status_code == 200, response.text
            stored = await docs.points()
            assert list(stored) == [one["id"] for one in response.json()["chunks"]]
            for text, metadata in stored.values():
                place = metadata["chunk"]
                assert texts[place["document"]][place["start"] : place["end"]] == text
            left = {name for name in stored if stored[name][1]["chunk"]["document"] != gone}
            await docs.post("points/delete", documents=[gone])
            assert (await docs.points()).keys() == left

    asyncio.run(check())


@pytest.mark.parametrize(
    "body",
    [{}, {"ids": ["a"], "documents": ["a"]}, {"documents": ["a"], "filter": {}}, {"documents": []}],
)
async def test_a_deletion_takes_one_kind_of_selection(docs: Docs, body: Any) -> None:
    assert (await docs.post("points/delete", **body)).status_code == 400

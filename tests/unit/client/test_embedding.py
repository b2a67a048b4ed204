"""Vectors of many inputs come back in order, whatever the requests did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from embedder_client import AsyncClient, Client, EmbedOptions, InvalidAnswer, InvalidRequest
from tests.unit.client.fake_service import FakeService, client, embeddings, refusal


async def test_many_texts_travel_in_several_requests_and_return_in_order() -> None:
    service = FakeService()
    texts = ["x" * (1 + row % 97) for row in range(3000)]
    counted: list[int] = []
    async with client(service, batch_tokens=500) as calls:
        vectors = await calls.embed(texts, progress=counted.append)
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [len(text) for text in texts]
    assert len(service.requests) > 10
    assert sum(counted) == 3000


async def test_answers_that_overtake_each_other_keep_the_order_of_the_inputs() -> None:
    started: list[int] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        started.append(len(started))
        for _ in range(50 - 10 * (len(started) % 5)):
            await asyncio.sleep(0)
        return httpx.Response(200, json=embeddings(texts))

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with AsyncClient("http://service", http=http, batch_tokens=20) as calls:
        vectors = await calls.embed(["x" * n for n in range(1, 80)])
    assert vectors[:, 0].tolist() == list(range(1, 80))


async def test_one_text_token_ids_and_no_text() -> None:
    service = FakeService()
    async with client(service, model="m") as calls:
        assert (await calls.embed("abc")).tolist() == [[3.0, 1.0]]
        assert (await calls.embed([5, 6])).tolist() == [[2.0, 1.0]]
        assert (await calls.embed([])).shape == (0, 0)
    assert [body["input"] for body in service.bodies] == [["abc"], [[5, 6]]]
    assert service.bodies[0]["model"] == "m"


async def test_options_are_fields_and_prompts_can_be_named() -> None:
    service = FakeService()
    options = EmbedOptions(dimensions=2, truncate="start", normalize=False, priority="bulk")
    async with client(service) as calls:
        await calls.embed_query(["a"], options)
        await calls.embed_document(["a"], EmbedOptions(prompt_name="own"))
    query, document = service.bodies
    assert query == {
        "input": ["a"],
        "encoding_format": "base64",
        "input_type": "query",
        "truncate": "start",
        "dimensions": 2,
        "normalize": False,
        "priority": "bulk",
    }
    assert "input_type" not in document
    assert document["prompt_name"] == "own"


async def test_a_batch_above_a_limit_is_halved() -> None:
    service = FakeService(max_inputs=3)
    async with client(service) as calls:
        vectors = await calls.embed(["x" * n for n in range(1, 21)])
    assert vectors[:, 0].tolist() == list(range(1, 21))
    too_large = FakeService([refusal(413, "body_too_large")])
    async with client(too_large) as calls:
        assert len(await calls.embed(["a", "b"])) == 2


async def test_a_refused_input_is_named_by_its_position_in_the_call() -> None:
    service = FakeService(max_inputs=4)
    texts = ["x"] * 30
    texts[17] = "bad"
    async with client(service, batch_tokens=10) as calls:
        with pytest.raises(InvalidRequest, match=r"'input\[17\]': invalid_input") as error:
            await calls.embed(texts)
    assert (error.value.position, error.value.field) == (17, "input[17]")


async def test_a_stream_is_read_as_it_is_needed_and_ends_with_its_error() -> None:
    read: list[int] = []

    def texts() -> Iterator[str]:
        for row in range(10_000):
            read.append(row)
            yield "x" * 10

    service = FakeService()
    async with client(service, batch_tokens=40) as calls:
        stream = calls.embed_stream(texts())
        first = await anext(stream)
        await stream.aclose()
    assert first.tolist() == [10.0, 1.0]
    assert len(read) < 1000

    def failing() -> Iterator[str]:
        yield from ["a", "bb"]
        raise OSError("the file ended")

    http = httpx.AsyncClient(transport=httpx.MockTransport(service))
    sync = Client("http://service", http=http, batch_tokens=1)
    with sync, pytest.raises(OSError, match="the file ended"):
        list(sync.embed_stream(failing()))


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"data": [{"index": 0}]}, {"data": 3}, {"data": [{"index": 0, "embedding": "?"}]}],
)
async def test_an_answer_of_another_form_is_named(answer: Any) -> None:
    service = FakeService([httpx.Response(200, json=answer)])
    async with client(service) as calls:
        with pytest.raises(InvalidAnswer):
            await calls.embed("a")


def test_threads_share_a_synchronous_client_which_can_be_closed_twice() -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(FakeService()))
    calls = Client("http://service", http=http, api_key="k1")
    with calls:
        assert calls.embed(["a", "bb"])[:, 0].tolist() == [1.0, 2.0]
        assert [row[0] for row in calls.embed_stream(["a", "bb"])] == [1.0, 2.0]
        assert http.headers["authorization"] == "Bearer k1"
    calls.close()
    with pytest.raises(RuntimeError, match="closed"):
        calls.embed("a")

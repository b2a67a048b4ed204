"""Long texts of a request for embeddings: a vector for each chunk, with its place in the text.

The fake model reads eight tokens, and every character is one.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

TEXT = "aaa bbb. ccc ddd"


async def _embed(
    service: FakeService | None = None, accept: str = "*/*", **body: Any
) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        headers = {"accept": accept}
        return await http.post("/v1/embeddings", json=body, headers=headers)


def _places(data: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    names = ("input", "number", "start", "end", "tokens")
    return [tuple(item["chunk"][name] for name in names) for item in data]


async def test_each_chunk_is_a_row_with_its_place_in_its_text() -> None:
    body = (await _embed(input=[TEXT, "d"], chunking={"size": 8, "overlap": 0})).json()
    plain = (await _embed(input=["aaa bbb.", "ccc ddd", "d"])).json()

    assert _places(body["data"]) == [(0, 0, 0, 8, 8), (0, 1, 9, 16, 7), (1, 0, 0, 1, 1)]
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert [item["embedding"] for item in body["data"]] == [
        item["embedding"] for item in plain["data"]
    ]
    assert body["usage"] == {"prompt_tokens": 16, "total_tokens": 16}


async def test_tokens_of_an_overlap_are_counted_twice() -> None:
    body = (await _embed(input="aa bb cc dd", chunking={"size": 8, "overlap": 3})).json()

    assert _places(body["data"]) == [(0, 0, 0, 8, 8), (0, 1, 6, 11, 5)]
    assert body["usage"]["total_tokens"] == 13


async def test_a_request_without_chunking_has_the_answer_of_before() -> None:
    body = (await _embed(input=["a", "b"], chunking=None)).json()

    assert [item.keys() for item in body["data"]] == [{"object", "index", "embedding"}] * 2


async def test_a_range_counts_code_points() -> None:
    text = "🙂🙂🙂 e\u0301e\u0301 über"
    body = (await _embed(input=text, chunking={"size": 8, "overlap": 0})).json()
    chunks = [text[start:end] for _, _, start, end, _ in _places(body["data"])]

    assert chunks == ["🙂🙂🙂 e\u0301e\u0301", "über"]


async def test_the_size_is_by_default_that_of_the_model_and_the_overlap_an_eighth() -> None:
    body = (await _embed(input="a b c d e f", chunking={})).json()

    assert _places(body["data"]) == [(0, 0, 0, 7, 7), (0, 1, 6, 11, 5)]


@pytest.mark.parametrize(
    ("chunking", "field"),
    [
        ({"size": 9}, "chunking.size"),
        ({"size": 7}, "chunking.size"),
        ({"size": "8"}, "chunking.size"),
        ({"overlap": 8}, "chunking.overlap"),
        ({"overlap": -1}, "chunking.overlap"),
        ({"boundaries": "words"}, "chunking.boundaries"),
        ({"sizes": 8}, "chunking.sizes"),
        ("tokens", "chunking"),
    ],
)
async def test_wrong_options_are_refused_by_their_names(chunking: Any, field: str) -> None:
    assert refusal(await _embed(input=TEXT, chunking=chunking)) == (400, "invalid_input", field)


@pytest.mark.parametrize(
    ("given", "field"),
    [(["a", " \u3000"], "input[1]"), ([[97, 98]], "input[0]"), ("", "input[0]")],
)
async def test_an_input_without_chunks_is_refused_by_its_number(given: Any, field: str) -> None:
    response = await _embed(input=given, chunking={})

    assert refusal(response) == (400, "invalid_input", field)


async def test_chunks_are_limited_before_anything_is_embedded() -> None:
    service = FakeService(max_inputs=2)
    chunking = {"size": 8, "overlap": 0}
    most = await _embed(service, input=TEXT, chunking=chunking)
    more = await _embed(service, input=["a", TEXT + " ddd"], chunking=chunking)

    assert len(most.json()["data"]) == 2
    assert refusal(more) == (400, "limit_exceeded", "input[1]")
    assert "has 3 or more chunks, with those of the inputs before; the limit is 2" in message(more)
    assert len(service.encoder.calls) == 1


@pytest.mark.parametrize("truncate", ["end", "none"])
async def test_a_text_is_limited_before_it_is_split(truncate: str) -> None:
    service = FakeService(max_characters=16)
    given: dict[str, Any] = {"chunking": {"overlap": 0}, "truncate": truncate}
    most = await _embed(service, input=TEXT, **given)
    more = await _embed(service, input=f"{TEXT}d", **given)

    assert len(most.json()["data"]) == 2
    assert refusal(more) == (400, "limit_exceeded", "input[0]")


async def test_tokens_of_all_chunks_count_for_the_limit_of_a_request() -> None:
    given: dict[str, Any] = {"input": "aa bb cc dd", "chunking": {"size": 8, "overlap": 3}}
    most = await _embed(FakeService(max_request_tokens=13), **given)
    more = await _embed(FakeService(max_request_tokens=12), **given)

    assert most.status_code == 200
    assert refusal(more) == (400, "limit_exceeded", "input")
    assert "13 tokens to compute" in message(more)


async def test_lines_have_the_places_too() -> None:
    text = " ".join(["abcd"] * 100)
    chunking = {"size": 8, "overlap": 0}
    streamed = await _embed(accept="application/x-ndjson", input=text, chunking=chunking)
    body = (await _embed(input=text, chunking=chunking)).json()
    lines = [orjson.loads(line) for line in streamed.content.splitlines()]

    assert len(body["data"]) == 100
    assert _places(lines[:-1]) == _places(body["data"])
    np.testing.assert_array_equal(
        [line["embedding"] for line in lines[:-1]], [item["embedding"] for item in body["data"]]
    )


@pytest.mark.parametrize("accept", ["application/octet-stream", "application/x-npy"])
async def test_bytes_have_no_place_for_ranges(accept: str) -> None:
    response = await _embed(accept=accept, input=TEXT, chunking={})

    assert refusal(response) == (400, "invalid_input", "chunking")
    assert accept in message(response)

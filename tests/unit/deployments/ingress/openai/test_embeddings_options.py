"""The additions of the embeddings route to OpenAI's API: fields and formats."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from deployments.ingress.openai.streams import CHUNK
from embedder.core.types import Priority, Truncate
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

PROMPTS = {"query": "aa", "document": "bb", "title": "cc", "classification": "bbb"}


async def _embed(
    body: Any, service: FakeService | None = None, path: str = "/v1/embeddings", **headers: str
) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.post(path, json=body, headers=headers)


def _prompted() -> FakeService:
    return FakeService({"name": ALIAS, "prompts": PROMPTS})


async def _vectors(body: Any, service: FakeService | None = None) -> np.ndarray[Any, Any]:
    data = (await _embed(body, service)).json()["data"]
    return np.array([item["embedding"] for item in data])


async def test_both_paths_answer_the_same() -> None:
    body = {"input": ["abc", "d"]}

    assert (await _embed(body)).json() == (await _embed(body, path="/embeddings")).json()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 0, 0, 1]),
        ({"input_type": "query"}, [2, 0, 0, 1]),
        ({"input_type": "search_query"}, [2, 0, 0, 1]),
        ({"input_type": "document"}, [0, 2, 0, 1]),
        ({"input_type": "passage"}, [0, 2, 0, 1]),
        ({"input_type": "search_document"}, [0, 2, 0, 1]),
        ({"input_type": "classification"}, [0, 3, 0, 1]),
        ({"input_type": "clustering"}, [0, 0, 0, 1]),
        ({"prompt_name": "title"}, [0, 0, 2, 1]),
    ],
)
async def test_a_prompt_goes_in_front(options: dict[str, str], expected: list[float]) -> None:
    vectors = await _vectors({"input": "d", "normalize": False, **options}, _prompted())

    np.testing.assert_allclose(vectors, [expected])


@pytest.mark.parametrize(
    ("truncate", "expected"),
    [
        ("end", [8, 0, 0, 0]),
        ("END", [8, 0, 0, 0]),
        ("start", [0, 8, 0, 0]),
        ("START", [0, 8, 0, 0]),
        (True, [8, 0, 0, 0]),
    ],
)
async def test_either_end_is_cut(truncate: str | bool, expected: list[float]) -> None:
    body = {"input": "a" * 8 + "b" * 8, "truncate": truncate, "normalize": False}

    np.testing.assert_allclose(await _vectors(body), [expected])


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        ("/v1/embeddings", {}, [0, 8, 0, 0]),
        ("/v1/embeddings", {"truncate": None}, [0, 8, 0, 0]),
        ("/v1/embeddings", {"truncate": "end"}, [8, 0, 0, 0]),
        ("/embed", {}, [0, 8, 0, 0]),
        ("/embed", {"truncate": True}, [0, 8, 0, 0]),
        ("/embed", {"truncation_direction": "right"}, [8, 0, 0, 0]),
    ],
)
async def test_the_end_that_the_models_files_name_is_cut_where_a_request_names_none(
    path: str, fields: dict[str, Any], expected: list[int]
) -> None:
    service = FakeService()
    service.encoder.truncation = Truncate.START
    text = "a" * 8 + "b" * 8
    body = {"input" if path.startswith("/v1") else "inputs": text, "normalize": False, **fields}
    answer = (await _embed(body, service, path)).json()

    vectors = [row["embedding"] for row in answer["data"]] if "data" in answer else answer
    np.testing.assert_allclose(vectors, [expected])


@pytest.mark.parametrize("truncate", ["none", "NONE", False])
async def test_a_long_text_is_refused_with_its_tokens_and_the_limit(truncate: str | bool) -> None:
    response = await _embed({"input": ["a", "a" * 9], "truncate": truncate})

    assert refusal(response) == (400, "limit_exceeded", "input[1]")
    assert "9 tokens; the limit is 8" in message(response)


async def test_the_priority_reaches_the_encoder() -> None:
    service = FakeService()
    await _embed({"input": "a"}, service)
    await _embed({"input": "b", "priority": "bulk"}, service)

    assert [priority for _, priority, _ in service.encoder.calls] == [
        Priority.INTERACTIVE,
        Priority.BULK,
    ]


@pytest.mark.usefixtures("virtual_time")
async def test_a_shorter_timeout_is_respected() -> None:
    service = FakeService()
    service.encoder.releases[ALIAS] = asyncio.Event()
    response = await _embed({"input": "a"}, service, **{"x-request-timeout": "0.05"})

    assert refusal(response) == (408, "deadline_exceeded", None)
    assert response.headers["x-should-retry"] == "true"


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"dimensions": 3}, (400, "invalid_input", "dimensions")),
        ({"prompt_name": "other"}, (400, "invalid_input", "prompt_name")),
        ({"prompt_name": "title", "input_type": "query"}, (400, "invalid_input", "input_type")),
        ({"input_type": "image"}, (400, "invalid_input", "input_type")),
        ({"truncate": "middle"}, (400, "invalid_input", "truncate")),
        ({"truncate": 1}, (400, "invalid_input", "truncate")),
        ({"normalize": "yes"}, (400, "invalid_input", "normalize")),
        ({"priority": "high"}, (400, "invalid_input", "priority")),
        ({"output_dtype": "int4"}, (400, "invalid_input", "output_dtype")),
        ({"output_dtype": "int8", "normalize": False}, (400, "invalid_input", "output_dtype")),
    ],
)
async def test_a_wrong_option_is_refused_by_its_name(
    body: dict[str, Any], refused: tuple[int, str, str]
) -> None:
    assert refusal(await _embed({"input": "a", **body}, _prompted())) == refused


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
async def test_numbers_of_every_type_are_the_same_in_every_format(dtype: str) -> None:
    body = {"input": ["aaabbbb", "d"], "output_dtype": dtype}
    listed = (await _embed(body)).json()["data"]
    coded = (await _embed({**body, "encoding_format": "base64"})).json()["data"]
    raw = await _embed(body, accept="application/octet-stream")
    file = await _embed(body, accept="application/x-npy")

    array = np.load(io.BytesIO(file.content))
    assert array.dtype == np.dtype({"binary": "int8", "ubinary": "uint8"}.get(dtype, dtype))
    assert raw.content == array.tobytes()
    assert raw.headers["x-embedding-shape"] == ",".join(map(str, array.shape))
    for row, plain, item in zip(array, listed, coded, strict=True):
        np.testing.assert_array_equal(np.array(plain["embedding"], array.dtype), row)
        assert base64.b64decode(item["embedding"]) == row.tobytes()


async def test_bits_are_packed_with_the_first_component_highest() -> None:
    listed = (await _embed({"input": "aaabbbb", "output_dtype": "ubinary"})).json()["data"]

    assert listed[0]["embedding"] == [0b11000000]


async def test_headers_have_durations_and_cache_hits() -> None:
    service = FakeService()
    service.encoder.queue_s, service.encoder.inference_s = 0.25, 0.5
    first, again = [await _embed({"input": ["a", "b"]}, service) for _ in range(2)]

    assert first.headers["x-inference-time"] == "500"
    assert int(first.headers["x-queue-time"]) >= 250
    assert (first.headers["x-cache-hits"], again.headers["x-cache-hits"]) == ("0", "2")
    assert again.headers["x-inference-time"] == "0"
    assert {"x-total-time", "x-tokenization-time"} <= first.headers.keys()


def _lines(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [orjson.loads(line) for line in response.text.splitlines()]


async def test_a_stream_has_one_line_per_embedding_and_then_the_usage() -> None:
    texts = ["abcd"[number % 4] * (number % 7 + 1) for number in range(3 * CHUNK + 5)]
    whole = (await _embed({"input": texts})).json()
    *embeddings, closing = _lines(await _embed({"input": texts}, accept="application/x-ndjson"))

    assert embeddings == whole.pop("data")
    assert closing == whole


async def test_a_stream_whose_first_chunk_fails_is_refused_with_a_status() -> None:
    service = FakeService(max_inputs=2 * CHUNK)
    empty = await _embed({"input": ["a", ""]}, service, accept="application/x-ndjson")
    many = await _embed({"input": ["a"] * 999}, service, accept="application/x-ndjson")

    assert refusal(empty) == (400, "invalid_input", "input[1]")
    assert refusal(many) == (400, "limit_exceeded", "input")


async def test_a_stream_that_fails_later_has_the_error_in_its_last_line() -> None:
    texts = [*"abcd" * CHUNK, ""]
    *embeddings, last = _lines(await _embed({"input": texts}, accept="application/x-ndjson"))

    assert [line["index"] for line in embeddings] == list(range(4 * CHUNK))
    assert last["error"]["param"] == f"input[{4 * CHUNK}]"
    assert last["error"]["code"] == "invalid_input"


async def test_an_unknown_field_is_refused_with_the_nearest_and_all_that_are_allowed() -> None:
    response = await _embed({"input": "a", "dimension": 2})

    assert refusal(response) == (400, "invalid_input", "dimension")
    assert "did you mean 'dimensions'?" in message(response)
    assert "allowed: model, input_type, prompt_name, truncate," in message(response)


async def test_an_unknown_field_of_any_length_makes_a_short_error() -> None:
    response = await _embed({"input": "a", "{x}" * 80_000: 2})

    assert refusal(response)[:2] == (400, "invalid_input")
    assert len(response.content) < 1000


async def test_an_unknown_model_is_refused_with_those_that_are_served() -> None:
    response = await _embed({"input": "a", "model": "text-embedding-3-small"})

    assert refusal(response) == (404, "model_not_found", "model")
    assert message(response).endswith("; served: all-MiniLM-L6-v2")

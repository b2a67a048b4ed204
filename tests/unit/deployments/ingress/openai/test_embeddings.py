"""OpenAI's embeddings API: the shapes of responses and errors."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from embedder.core.errors import Overloaded, StageUnavailable
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    REPOSITORY,
    FakeService,
    message,
    refusal,
)


async def _embed(body: Any, service: FakeService | None = None) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.post("/v1/embeddings", json=body)


async def _embed_raw(content: bytes, **limits: float) -> httpx.Response:
    async with FakeService(**limits).client() as http:
        headers = {"content-type": "application/json"}
        return await http.post("/v1/embeddings", content=content, headers=headers)


async def test_an_answer_is_what_openais_clients_expect() -> None:
    response = await _embed({"model": ALIAS, "input": ["aaabbbb", "d"], "user": "u"})
    body = response.json()
    vectors = np.array([item.pop("embedding") for item in body["data"]])

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "model": ALIAS,
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    np.testing.assert_allclose(vectors, [[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("value", "count"),
    [("ab", 1), (["ab"], 1), ([97, 98], 1), ([[97, 98], "ab", [97, 98]], 3)],
)
async def test_texts_and_ids_are_inputs_in_every_shape_of_openais(value: Any, count: int) -> None:
    body = (await _embed({"input": value})).json()

    assert len(body["data"]) == count
    assert body["usage"] == {"prompt_tokens": 2 * count, "total_tokens": 2 * count}
    for item in body["data"]:
        np.testing.assert_allclose(item["embedding"], [0.5**0.5, 0.5**0.5, 0, 0], atol=1e-6)


async def test_base64_holds_the_same_numbers_to_the_bit() -> None:
    texts = ["abc", "ddd", "aabbbcd"]
    floats = (await _embed({"input": texts, "encoding_format": "float"})).json()["data"]
    coded = (await _embed({"input": texts, "encoding_format": "base64"})).json()["data"]

    for plain, item in zip(floats, coded, strict=True):
        bits = base64.b64decode(item["embedding"], validate=True)
        assert bits == np.array(plain["embedding"], "<f4").tobytes()


async def test_usage_counts_tokens_of_cached_inputs_too() -> None:
    service = FakeService()
    texts = ["abc", "a" * 20, "abc", "d"]
    first, again = await _embed({"input": texts}, service), await _embed({"input": texts}, service)

    assert first.json() == again.json()
    assert first.json()["usage"]["total_tokens"] == 3 + 8 + 3 + 1
    assert len(service.encoder.calls) == 1


@pytest.mark.parametrize(("texts", "cut"), [(["a" * 9, "b", "c" * 99], "2"), (["a" * 8], None)])
async def test_a_header_tells_how_many_inputs_were_cut(texts: list[str], cut: str | None) -> None:
    assert (await _embed({"input": texts})).headers.get("x-truncated-inputs") == cut


@pytest.mark.parametrize("name", [ALIAS, REPOSITORY, None])
async def test_the_model_is_answered_under_the_name_that_was_asked_for(name: str | None) -> None:
    body = {"input": "a"} if name is None else {"input": "a", "model": name}

    assert (await _embed(body)).json()["model"] == (name or ALIAS)


async def test_fewer_dimensions_are_the_first_ones_at_unit_length() -> None:
    body = (await _embed({"input": "aaabbbbd", "dimensions": 2})).json()

    np.testing.assert_allclose(body["data"][0]["embedding"], [0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "refused", "word"),
    [
        ({"input": ""}, (400, "invalid_input", "input[0]"), "empty"),
        ({"input": []}, (400, "invalid_input", "input"), "empty"),
        ({"input": ["a", ""]}, (400, "invalid_input", "input[1]"), "empty"),
        ({"input": [[97], []]}, (400, "invalid_input", "input[1]"), "empty"),
        ({}, (400, "invalid_input", "input"), "required"),
        ({"input": None}, (400, "invalid_input", "input"), "null"),
        ({"input": 5}, (400, "invalid_input", "input"), "integer"),
        ({"input": {"a": 1}}, (400, "invalid_input", "input"), "object"),
        ({"input": ["a", None]}, (400, "invalid_input", "input[1]"), "null"),
        ({"input": [97, True]}, (400, "invalid_input", "input[1]"), "boolean"),
        ({"input": [97, 1000]}, (400, "invalid_input", "input[0][1]"), "999"),
        ({"input": [-1]}, (400, "invalid_input", "input[0][0]"), "999"),
        ({"input": "a", "model": "other"}, (404, "model_not_found", "model"), "other"),
        ({"input": "a", "model": "../x"}, (404, "model_not_found", "model"), "../x"),
        ({"input": "a", "model": 5}, (400, "invalid_input", "model"), "string"),
        ({"input": "a", "prompt": "b"}, (400, "invalid_input", "prompt"), "not permitted"),
        ({"input": "a", "encoding_format": "hex"}, (400, "invalid_input", "encoding_format"), ""),
        ({"input": "a", "dimensions": 0}, (400, "invalid_input", "dimensions"), "1"),
        ({"input": "a", "dimensions": 5}, (400, "invalid_input", "dimensions"), "4"),
        ({"input": "a", "dimensions": "all"}, (400, "invalid_input", "dimensions"), "integer"),
        (["a"], (400, "invalid_input", None), "body"),
    ],
)
async def test_an_invalid_field_is_refused_by_name(
    body: Any, refused: tuple[int, str, str | None], word: str
) -> None:
    response = await _embed(body)

    assert refusal(response) == refused
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert word in message(response)


@pytest.mark.parametrize(
    ("limits", "value", "field", "words"),
    [
        ({"max_inputs": 2}, ["a"] * 3, "input", "3 items; the limit is 2"),
        ({"max_characters": 3}, ["a", "abcd"], "input[1]", "4 characters; the limit is 3"),
        ({"max_characters": 3}, [97] * 4, "input[0]", "4 token ids; the limit is 3"),
        ({"max_request_tokens": 4}, ["ab", "cda"], "input", "5 tokens to compute; the limit is 4"),
    ],
)
async def test_what_is_above_a_limit_is_refused_with_its_size_and_the_limit(
    limits: dict[str, float], value: Any, field: str, words: str
) -> None:
    response = await _embed({"input": value}, FakeService(**limits))

    assert refusal(response) == (400, "limit_exceeded", field)
    assert words in message(response)


async def test_a_body_above_the_limit_is_refused_with_the_limit() -> None:
    response = await _embed_raw(b'{"input":"' + b"a" * 100 + b'"}', max_body_bytes=50)

    assert refusal(response) == (413, "body_too_large", "body")
    assert "112 bytes; the limit is 50" in message(response)


@pytest.mark.parametrize("content", [b"{", b'{"input":NaN}', b'{"input":"\\ud800"}', b"\xff"])
async def test_a_body_that_is_not_json_is_refused(content: bytes) -> None:
    assert refusal(await _embed_raw(content)) == (400, "invalid_json", None)


@pytest.mark.parametrize(
    ("error", "refused", "retry"),
    [
        (Overloaded(3.5), (429, "overloaded", None), "4"),
        (StageUnavailable("Encoder", "lost"), (503, "stage_unavailable", None), "1"),
        (ZeroDivisionError("inside"), (500, "internal_error", None), None),
    ],
)
async def test_a_failed_stage_is_reported_in_the_same_shape(
    error: Exception, refused: tuple[int, str, str | None], retry: str | None
) -> None:
    service = FakeService()
    service.handles["encoder"].fault = error
    response = await _embed({"input": "a"}, service)

    assert refusal(response) == refused
    assert response.headers.get("retry-after") == retry
    assert "lost" not in response.text
    assert "inside" not in response.text


async def test_a_service_that_recovers_answers_again() -> None:
    service = FakeService()
    service.handles["encoder"].fault = StageUnavailable("Encoder", "lost")
    failed = await _embed({"input": "a"}, service)
    service.handles["encoder"].fault = None
    answered = await _embed({"input": "a"}, service)

    assert (failed.status_code, answered.status_code) == (503, 200)


async def test_a_failed_cache_fails_no_request() -> None:
    service = FakeService()
    service.handles["cache"].fault = ZeroDivisionError("inside")
    response = await _embed({"input": "aaabbbb"}, service)

    np.testing.assert_allclose(response.json()["data"][0]["embedding"][:2], [0.6, 0.8], atol=1e-6)

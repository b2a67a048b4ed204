"""Cohere's embed routes: texts, prompts, forms of vectors, limits and refusals."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.types import Priority
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.letter_tokenizer import MAX_TOKENS
from tests.unit.examples import TIMES

PROMPTS = {"query": "aa", "document": "bb", "classification": "cc"}
SIXTHS, ONLY_D = [0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]
"""The vectors of "aaabbbb" and "d"."""


async def _embed(
    service: FakeService | None = None, path: str = "/v2/embed", /, **body: Any
) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.post(path, json=body)


async def _answer(service: FakeService | None = None, /, **body: Any) -> dict[str, Any]:
    response = await _embed(service, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.json().keys() == {"message"}
    return response.status_code, response.json()["message"]


async def test_the_answer_has_the_vectors_the_texts_and_the_tokens() -> None:
    async with FakeService().client() as http:
        response = await http.post(
            "/v2/embed",
            json={"model": ALIAS, "texts": ["aaabbbb", "d"]},
            headers={"x-request-id": "r-1"},
        )

    assert response.json() == {
        "response_type": "embeddings_by_type",
        "id": "r-1",
        "embeddings": {"float": [pytest.approx(SIXTHS), [0, 0, 0, 1]]},
        "texts": ["aaabbbb", "d"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 8}},
    }
    assert response.headers["x-cache-hits"] == "0"


async def test_the_first_version_lists_vectors_unless_forms_are_named() -> None:
    listed = (await _embed(None, "/v1/embed", texts=["d"])).json()
    named = (await _embed(None, "/v1/embed", texts=["d"], embedding_types=["int8"])).json()

    assert listed["response_type"] == "embeddings_floats"
    assert listed["embeddings"] == [[0, 0, 0, 1]]
    assert listed["meta"]["api_version"] == {"version": "1"}
    assert listed["id"] != named["id"]
    assert named["response_type"] == "embeddings_by_type"
    assert named["embeddings"].keys() == {"int8"}


async def test_the_parts_of_an_input_are_embedded_together() -> None:
    parts = [{"type": "text", "text": "aaa"}, {"type": "text", "text": "bbbb"}]
    one = [{"type": "text", "text": "d"}]
    answer = await _answer(inputs=[{"content": parts}, {"content": one}])

    assert answer["texts"] == ["aaa\nbbbb", "d"]
    np.testing.assert_allclose(answer["embeddings"]["float"], [SIXTHS, ONLY_D], atol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "binary", "ubinary"])
async def test_the_forms_are_those_of_openais_route(dtype: str) -> None:
    service = FakeService()
    forms = ["float", "base64", dtype, "float"]
    by_type = (await _answer(service, texts=["aaabbbb", "d"], embedding_types=forms))["embeddings"]
    async with service.client() as http:
        body = {"input": ["aaabbbb", "d"], "output_dtype": dtype}
        expected = (await http.post("/v1/embeddings", json=body)).json()["data"]

    decoded = [np.frombuffer(base64.b64decode(row), "<f4") for row in by_type["base64"]]
    assert list(by_type) == ["float", "base64", dtype]
    assert by_type[dtype] == [row["embedding"] for row in expected]
    np.testing.assert_array_equal(decoded, np.array(by_type["float"], np.float32))


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (None, [0, 0, 0, 1]),
        ("search_query", [2, 0, 0, 1]),
        ("search_document", [0, 2, 0, 1]),
        ("classification", [0, 0, 2, 1]),
        ("clustering", [0, 0, 0, 1]),
    ],
)
async def test_the_input_type_selects_the_prompt(kind: str | None, counts: list[int]) -> None:
    service = FakeService({"name": ALIAS, "prompts": PROMPTS})
    answer = await _answer(service, texts=["d"], input_type=kind)

    (vector,) = answer["embeddings"]["float"]
    np.testing.assert_allclose(vector, np.array(counts) / np.linalg.norm(counts), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 0, 0, 0]),
        ({"truncate": "END"}, [1, 0, 0, 0]),
        ({"truncate": "START"}, [0, 1, 0, 0]),
    ],
)
async def test_a_long_text_is_cut_at_the_named_end(
    options: dict[str, str], expected: list[int]
) -> None:
    answer = await _answer(texts=["a" * MAX_TOKENS + "b" * MAX_TOKENS], **options)

    assert answer["embeddings"]["float"] == [expected]


async def test_a_long_text_may_be_refused() -> None:
    fits = await _embed(texts=["a" * MAX_TOKENS], truncate="NONE")
    status, problem = _refusal(await _embed(texts=["a", "a" * 9], truncate="NONE"))

    assert fits.status_code == 200
    assert status == 400
    assert "'texts[1]' has 9 tokens; the limit is 8" in problem


async def test_the_vectors_have_the_requested_width() -> None:
    answer = await _answer(texts=["aaabbbbd"], output_dimension=2)

    np.testing.assert_allclose(answer["embeddings"]["float"], [SIXTHS[:2]], atol=1e-6)


@pytest.mark.parametrize(("priority", "expected"), [(0, "INTERACTIVE"), (1, "BULK"), (999, "BULK")])
async def test_a_priority_above_zero_is_bulk(priority: int, expected: str) -> None:
    service = FakeService()
    await _answer(service, texts=["a"], priority=priority)

    assert [one for _, one, _ in service.encoder.calls] == [Priority[expected]]


async def test_a_limit_of_tokens_is_accepted_from_that_of_the_model() -> None:
    accepted = await _embed(texts=["a"], max_tokens=MAX_TOKENS)
    status, problem = _refusal(await _embed(texts=["a"], max_tokens=MAX_TOKENS - 1))

    assert accepted.status_code == 200
    assert (status, problem) == (
        400,
        "'max_tokens' is 7; texts are cut at the model's limit, 8 tokens",
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "'texts' is missing; give 'texts' or 'inputs'"),
        ({"texts": []}, "'texts': List should have at least 1 item"),
        ({"inputs": []}, "'inputs': List should have at least 1 item"),
        ({"texts": ["a", ""]}, "'texts[1]' must not be empty"),
        ({"texts": "a"}, "'texts': Input should be a valid list"),
        ({"texts": ["a", 7]}, "'texts[1]': Input should be a valid string"),
        ({"texts": ["a"], "images": ["data:image/png;base64,AA=="]}, "'images' cannot be embedded"),
        ({"texts": ["a"], "inputs": [{"content": []}]}, "'inputs[0].content': List should have"),
        (
            {"texts": ["a"], "inputs": [{"content": [{"type": "text", "text": "a"}]}]},
            "'inputs' cannot stand beside 'texts'",
        ),
        (
            {"inputs": [{"content": [{"type": "text", "text": ""}]}]},
            "'inputs[0].content' must not be empty",
        ),
        (
            {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "'inputs[0].content[0].type': Input should be 'text', not \"image_url\"",
        ),
        (
            {"texts": ["a"], "input_type": "image"},
            "'input_type': Input should be 'search_document'",
        ),
        ({"texts": ["a"], "embedding_types": []}, "'embedding_types': List should have"),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "'embedding_types[0]': Input should be"),
        ({"texts": ["a"], "output_dimension": 3}, "'output_dimension' is 3"),
        ({"texts": ["a"], "output_dimension": 0}, "'output_dimension': Input should be greater"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "'truncate': Input should be"),
        ({"texts": ["a"], "priority": 1000}, "'priority': Input should be less than"),
        ({"texts": ["a"], "priority": -1}, "'priority': Input should be greater than"),
        ({"texts": ["a"], "input_types": "x"}, "did you mean 'input_type'?"),
    ],
)
async def test_a_wrong_body_is_refused_by_the_field(body: dict[str, Any], problem: str) -> None:
    status, message = _refusal(await _embed(**body))

    assert status == 400
    assert problem in message


async def test_an_unknown_model_is_refused_with_those_that_are_served() -> None:
    status, message = _refusal(await _embed(texts=["a"], model="embed-v4.0"))

    assert status == 404
    assert message.endswith(f"; served: {ALIAS}")


async def test_one_text_more_than_the_limit_is_refused() -> None:
    service = FakeService(max_inputs=3)
    accepted = await _embed(service, texts=["a"] * 3)
    status, message = _refusal(await _embed(service, texts=["a"] * 4))

    assert accepted.status_code == 200
    assert (status, message) == (400, "'texts' has 4 items; the limit is 3")


async def test_a_response_above_the_limit_is_refused_before_anything_is_embedded() -> None:
    texts, forms = ["ab", "c"], ["float", "int8"]
    size = 2 * (4 * (13 + 5) + 64) + 3
    edge, low = FakeService(max_response_bytes=size), FakeService(max_response_bytes=size - 1)
    accepted = await _embed(edge, texts=texts, embedding_types=forms)
    status, message = _refusal(await _embed(low, texts=texts, embedding_types=forms))

    assert accepted.status_code == 200
    assert status == 400
    assert f"'texts' has {size} bytes in its answer (max_response_bytes)" in message
    assert low.encoder.calls == []


@settings(max_examples=20 * TIMES)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
async def test_texts_of_any_characters_are_returned_as_sent(texts: list[str]) -> None:
    answer = await _answer(texts=texts)

    assert answer["texts"] == texts
    assert len(answer["embeddings"]["float"]) == len(texts)

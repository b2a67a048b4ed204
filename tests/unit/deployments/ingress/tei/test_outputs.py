"""The routes for sparse weights and token vectors: values, forms, limits and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.letter_outputs import THREE, TOKENS, WEIGHTS
from tests.unit.deployments.ingress.letter_tokenizer import MAX_TOKENS
from tests.unit.deployments.ingress.tei.answers import post, refusal
from tests.unit.examples import TIMES

A, B, D = (ord(letter) for letter in "abd")
SERVED = ({"name": ALIAS}, {"name": WEIGHTS}, {"name": TOKENS}, {"name": THREE})
ROUTES = ["/embed_sparse", "/embed_all"]


def _service(**limits: Any) -> FakeService:
    return FakeService(*SERVED, **limits)


async def _answer(path: str, **body: Any) -> Any:
    response = await post(path, body, _service())
    assert response.status_code == 200, response.text
    return response.json()


async def test_sparse_weights_come_by_ascending_ids() -> None:
    answer = await _answer("/embed_sparse", inputs=["bab", "d"])

    assert answer == [
        [{"index": A, "value": 1.0}, {"index": B, "value": 2.0}],
        [{"index": D, "value": 1.0}],
    ]


async def test_every_token_has_a_vector() -> None:
    assert await _answer("/embed_all", inputs=["ba", "d"]) == [[[2, 1], [1, 1]], [[4, 1]]]


@pytest.mark.parametrize("path", ROUTES)
async def test_one_input_gets_a_list_too(path: str) -> None:
    listed, alone = await _answer(path, inputs=["bab"]), await _answer(path, inputs="bab")
    ids = await _answer(path, inputs=[[B, A, B]])

    assert listed == alone == ids
    assert len(alone) == 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, "a" * 8),
        ({"truncate": True}, "a" * 8),
        ({"truncation_direction": "left"}, "b" * 8),
        ({"truncation_direction": "Left", "truncate": True}, "b" * 8),
    ],
)
async def test_a_long_text_is_cut_as_on_embed(options: dict[str, Any], kept: str) -> None:
    for path in ROUTES:
        cut = await _answer(path, inputs="a" * MAX_TOKENS + "b" * MAX_TOKENS, **options)

        assert cut == await _answer(path, inputs=kept)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_long_text_may_be_refused(path: str) -> None:
    edge = await post(path, {"inputs": "a" * MAX_TOKENS, "truncate": False}, _service())
    above = await post(path, {"inputs": ["b", "a" * 9], "truncate": False}, _service())

    assert edge.status_code == 200
    status, kind, problem = refusal(above)
    assert (status, kind) == (422, "Validation")
    assert "`inputs[1]` must have less than 9 tokens. Given: 9" in problem


async def test_the_headers_are_those_of_embed() -> None:
    response = await post("/embed_sparse", {"inputs": ["bab", "d"]}, _service())

    assert response.headers["x-compute-characters"] == "4"
    assert response.headers["x-compute-tokens"] == "4"
    assert response.headers["x-compute-type"] == "cpu+float32"
    assert response.headers["x-cache-hits"] == "0"


async def test_the_results_of_each_kind_are_cached() -> None:
    service = _service()
    responses = [await post(path, {"inputs": "ab", "model": THREE}, service) for path in ROUTES * 2]

    assert [response.headers["x-cache-hits"] for response in responses] == ["0", "0", "1", "1"]
    assert len(service.encoder.calls) == 2
    assert responses[0].json() == responses[2].json()
    assert responses[1].json() == responses[3].json()


@pytest.mark.parametrize(
    ("path", "able"),
    [("/embed_sparse", "compute sparse weights"), ("/embed_all", "compute token vectors")],
)
async def test_a_model_without_the_output_is_refused_with_those_that_have_it(
    path: str, able: str
) -> None:
    service = _service()
    named = refusal(await post(path, {"inputs": "a", "model": ALIAS}, service))
    alone = refusal(await post(path, {"inputs": "a"}, FakeService()))
    unknown = refusal(await post(path, {"inputs": "a", "model": "x"}, service))

    assert named[:2] == (422, "Validation")
    assert f"names '{ALIAS}', which cannot {able}" in named[2]
    assert f"is left out, and no served model can {able}" in alone[2]
    assert unknown[0] == 404


@pytest.mark.parametrize(
    ("path", "size"),
    # One text of three letters, two of which are equal.
    [("/embed_sparse", 64 + 2 * 36), ("/embed_all", 64 + 3 * (2 * 13 + 3))],
)
async def test_a_response_above_the_limit_is_refused(path: str, size: int) -> None:
    edge = await post(path, {"inputs": "bab"}, _service(max_response_bytes=size))
    above = await post(path, {"inputs": "bab"}, _service(max_response_bytes=size - 1))

    assert edge.status_code == 200
    assert refusal(above)[0] == 422
    assert f"`inputs` has {size} bytes in its answer (max_response_bytes)" in refusal(above)[2]


async def test_many_token_vectors_are_refused_before_they_are_computed() -> None:
    service = _service(max_response_bytes=200)
    response = await post("/embed_all", {"inputs": ["abcd" * 2] * 9}, service)

    assert refusal(response)[0] == 422
    assert "max_response_bytes" in refusal(response)[2]
    assert service.encoder.calls == []


@pytest.mark.parametrize("path", ROUTES)
async def test_one_input_more_than_the_limit_is_refused(path: str) -> None:
    edge = await post(path, {"inputs": ["a"] * 3}, _service(max_inputs=3))
    above = await post(path, {"inputs": ["a"] * 4}, _service(max_inputs=3))

    assert edge.status_code == 200
    assert refusal(above) == (422, "Validation", "batch size 4 > maximum allowed batch size 3")


@settings(max_examples=20 * TIMES)
@given(st.lists(st.text(min_size=1, max_size=MAX_TOKENS), min_size=1, max_size=3))
async def test_texts_of_any_characters_have_a_row_each(texts: list[str]) -> None:
    async with _service().client() as http:
        sparse = (await http.post("/embed_sparse", json={"inputs": texts})).json()
        tokens = (await http.post("/embed_all", json={"inputs": texts})).json()

    assert [[one["index"] for one in row] for row in sparse] == [
        sorted(set(map(ord, text))) for text in texts
    ]
    assert [[vector[0] - 1 + A for vector in row] for row in tokens] == [
        list(map(ord, text)) for text in texts
    ]

"""What the routes of text-embeddings-inference refuse: status, kind and words of each case."""

from __future__ import annotations

from typing import Any

import pytest

from embedder.core.errors import BackendFailure, Overloaded, StageUnavailable
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.deployments.ingress.tei.answers import post, refusal

BY_VECTORS = {"method": "bi-encoder"}
WRONG = "Input validation error: "
LIMITS = {"max_inputs": 3, "max_characters": 20, "max_request_tokens": 14}
LONG = "a" * 10
"""Above the eight tokens that the model reads."""


def _similar(source: Any, *sentences: Any, **parameters: Any) -> dict[str, Any]:
    inputs = {"source_sentence": source, "sentences": list(sentences)}
    return {"inputs": inputs, "parameters": parameters}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/embed", {"inputs": []}, "inputs"),
        ("/", {"inputs": []}, "inputs"),
        ("/similarity", _similar("a"), "inputs.sentences"),
        ("/", _similar("a"), "inputs.sentences"),
        ("/rerank", {**BY_VECTORS, "query": "a", "texts": []}, "texts"),
    ],
)
async def test_an_empty_list_is_a_kind_of_its_own(
    path: str, body: dict[str, Any], field: str
) -> None:
    assert refusal(await post(path, body)) == (400, "Empty", f"`{field}` cannot be empty")


@pytest.mark.parametrize(
    ("path", "body", "size"),
    [
        ("/embed", {"inputs": ["a"] * 4}, 4),
        ("/embed", {"inputs": [[97]] * 5}, 5),
        ("/", {"inputs": ["a"] * 4}, 4),
        ("/similarity", _similar("a", "b", "c", "d"), 4),
        ("/", _similar("a", "b", "c", "d"), 4),
        ("/rerank", {**BY_VECTORS, "query": "a", "texts": ["a"] * 4}, 4),
    ],
)
async def test_too_many_inputs_are_refused_in_the_words_that_clients_know(
    path: str, body: dict[str, Any], size: int
) -> None:
    sentence = f"batch size {size} > maximum allowed batch size 3"

    assert refusal(await post(path, body, FakeService(**LIMITS))) == (422, "Validation", sentence)


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/embed", {"inputs": ""}, "`inputs[0]` cannot be empty"),
        ("/embed", {"inputs": ["a", ""]}, "`inputs[1]` cannot be empty"),
        ("/embed", {"inputs": [[97], []]}, "`inputs[1]` cannot be empty"),
        ("/similarity", _similar("", "b"), "`inputs.source_sentence` cannot be empty"),
        ("/similarity", _similar("a", "b", ""), "`inputs.sentences[1]` cannot be empty"),
        ("/", _similar("a", "b", ""), "`inputs.sentences[1]` cannot be empty"),
        ("/rerank", {**BY_VECTORS, "query": "", "texts": ["a"]}, "`query` cannot be empty"),
        ("/rerank", {**BY_VECTORS, "query": "a", "texts": ["", "a"]}, "`texts[0]` cannot be empty"),
        (
            "/embed",
            {"inputs": ["a", LONG], "truncate": False},
            "`inputs[1]` must have less than 9 tokens. Given: 10",
        ),
        (
            "/embed",
            {"inputs": ["a", LONG], "truncate": False, "truncation_direction": "left"},
            "`inputs[1]` must have less than 9 tokens. Given: 10",
        ),
        (
            "/similarity",
            _similar(LONG, "b", truncate=False),
            "`inputs.source_sentence` must have less than 9 tokens. Given: 10",
        ),
        (
            "/",
            _similar("b", LONG, truncate=False),
            "`inputs.sentences[0]` must have less than 9 tokens. Given: 10",
        ),
        (
            "/rerank",
            {**BY_VECTORS, "query": LONG, "texts": ["a"], "truncate": False},
            "`query` must have less than 9 tokens. Given: 10",
        ),
        (
            "/rerank",
            {**BY_VECTORS, "query": "a", "texts": ["a", LONG], "truncate": False},
            "`texts[1]` must have less than 9 tokens. Given: 10",
        ),
        (
            "/embed",
            {"inputs": ["a" * 21]},
            "`inputs[0]` must have less than 21 characters. Given: 21",
        ),
        (
            "/embed",
            {"inputs": ["a" * 8, "b" * 8]},
            "`inputs` has 16 tokens to compute; the limit is 14",
        ),
        (
            "/similarity",
            _similar("a" * 8, "b" * 8),
            "`inputs.sentences` has 16 tokens to compute; the limit is 14",
        ),
        ("/embed", {"inputs": [97, True]}, "`inputs[1]` must be a token id, not a boolean"),
        (
            "/embed",
            {"inputs": ["a", [98, 1000]]},
            "`inputs[1][1]` is 1000; ids of this model's vocabulary are 0 to 999",
        ),
        ("/embed", {"inputs": None}, "`inputs` must be a string or a list, not null"),
        (
            "/embed",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}},
            "`inputs` must be a string or a list, not an object",
        ),
        (
            "/embed",
            {"inputs": "a", "prompt_name": "query"},
            "`prompt_name` is 'query'; this model has: none",
        ),
        (
            "/similarity",
            _similar("a", "b", prompt_name="query"),
            "`prompt_name` is 'query'; this model has: none",
        ),
    ],
)
async def test_what_can_never_be_answered_is_refused_by_the_clients_name_of_it(
    path: str, body: dict[str, Any], sentence: str
) -> None:
    response = await post(path, body, FakeService(**LIMITS))

    assert refusal(response) == (422, "Validation", WRONG + sentence)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/embed", {}, "inputs"),
        ("/embed", {"inputs": "a", "truncate": "yes"}, "truncate"),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, "truncation_direction"),
        ("/embed", {"inputs": "a", "normalize": 1}, "normalize"),
        ("/embed", {"inputs": "a", "dimensions": 0}, "dimensions"),
        ("/embed", {"inputs": "a", "dimensions": 1.5}, "dimensions"),
        ("/embed", {"inputs": "a", "dimensions": 3}, "dimensions"),
        ("/embed", {"inputs": "a", "model": 5}, "model"),
        ("/embed", {"inputs": "a", "prompt_name": 5}, "prompt_name"),
        ("/", {"inputs": {"sentences": ["b"]}}, "inputs.source_sentence"),
        ("/", _similar("a", "b", 5), "inputs.sentences[1]"),
        ("/", _similar("a", "b", truncation_direction=""), "parameters.truncation_direction"),
        ("/similarity", _similar(5, "b"), "inputs.source_sentence"),
        ("/similarity", {"inputs": "a"}, "inputs"),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, "inputs.sentences"),
        ("/rerank", {"texts": ["a"]}, "query"),
        ("/rerank", {"query": "a", "texts": ["a", None]}, "texts[1]"),
        ("/rerank", {"query": ["a"], "texts": ["a"]}, "query"),
        ("/rerank", {"query": "a", "texts": ["a"], "raw_scores": "no"}, "raw_scores"),
    ],
)
async def test_a_field_of_another_shape_is_named(
    path: str, body: dict[str, Any], field: str
) -> None:
    status, kind, sentence = refusal(await post(path, body))

    assert (status, kind) == (422, "Validation")
    assert f"'{field}'" in sentence or f"`{field}`" in sentence


@pytest.mark.parametrize("path", ["/embed", "/", "/similarity", "/rerank", "/tokenize", "/decode"])
async def test_a_model_that_is_not_served_is_not_found(path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/similarity": _similar("a", "b"),
        "/rerank": {"query": "a", "texts": ["b"]},
        "/decode": {"ids": [97]},
    }
    status, kind, sentence = refusal(
        await post(path, {"inputs": "a", **bodies.get(path, {}), "model": "../x"})
    )

    assert (status, kind) == (404, "Validation")
    assert (
        sentence == WRONG + "`model` names '../x', which does not exist; served: all-MiniLM-L6-v2"
    )


@pytest.mark.parametrize(
    ("error", "refused", "retry"),
    [
        (Overloaded(3.5), (429, "Overloaded"), "4"),
        (StageUnavailable("Encoder", "secret"), (503, "Unhealthy"), "1"),
        (BackendFailure("secret"), (424, "Backend"), None),
        (ZeroDivisionError("secret"), (424, "Backend"), None),
    ],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": "a"}),
        ("/similarity", _similar("a", "b")),
        ("/rerank", {**BY_VECTORS, "query": "a", "texts": ["b"]}),
    ],
)
async def test_a_stage_that_fails_is_told_with_these_codes(
    path: str, body: dict[str, Any], error: Exception, refused: tuple[int, str], retry: str | None
) -> None:
    service = FakeService()
    await post("/embed", {"inputs": "d"}, service)
    service.handles["encoder"].fault = error
    response = await post(path, body, service)

    assert refusal(response)[:2] == refused
    assert response.headers.get("retry-after") == retry
    assert "secret" not in response.text


async def test_a_body_above_the_limit_and_one_that_is_no_json_have_their_codes() -> None:
    async with FakeService(max_body_bytes=50).client() as http:
        headers = {"content-type": "application/json"}
        large = await http.post("/embed", content=b'{"inputs":"' + b"a" * 50, headers=headers)
        broken = await http.post("/embed", content=b'{"inputs":', headers=headers)
        plain = await http.post("/embed", content=b'{"inputs":"a"}')

    assert refusal(large)[:2] == (413, "Validation")
    assert refusal(broken)[:2] == (400, "Validation")
    assert refusal(plain)[:2] == (415, "Validation")

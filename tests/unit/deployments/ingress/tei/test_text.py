"""Texts to tokens and ids to texts, by text-embeddings-inference's contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.letter_tokenizer import END
from tests.unit.deployments.ingress.tei.answers import post, refusal


def _token(letter: str, at: int) -> dict[str, Any]:
    return {"id": ord(letter), "text": letter, "special": False, "start": at, "stop": at + 1}


LAST = {"id": 0, "text": END, "special": True, "start": None, "stop": None}
AB = [_token("a", 0), _token("b", 1)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": "ab"}, [[*AB, LAST]]),
        ({"inputs": ["ab", "a"]}, [[*AB, LAST], [_token("a", 0), LAST]]),
        ({"inputs": "ab", "add_special_tokens": False}, [AB]),
        ({"inputs": ["", "ab"]}, [[LAST], [*AB, LAST]]),
        ({"inputs": "ab", "truncate": True, "unknown": 1}, [[*AB, LAST]]),
    ],
)
async def test_tokens_come_with_their_places_a_list_for_each_text(
    body: dict[str, Any], expected: list[Any]
) -> None:
    response = await post("/tokenize", body)

    assert response.status_code == 200
    assert response.json() == expected


async def test_nothing_is_cut_of_a_text_whose_tokens_are_wanted() -> None:
    response = await post("/tokenize", {"inputs": "a" * 30, "add_special_tokens": False})

    assert [token["start"] for token in response.json()[0]] == list(range(30))


async def test_places_are_those_in_the_text_with_its_prompt_in_front() -> None:
    service = FakeService({"name": ALIAS, "prompts": {"query": "cc"}})
    body = {"inputs": "a", "prompt_name": "query", "add_special_tokens": False}

    expected = [[_token("c", 0), _token("c", 1), _token("a", 2)]]
    assert (await post("/tokenize", body, service)).json() == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"ids": [97, 98]}, ["ab"]),
        ({"ids": [[97, 98]]}, ["ab"]),
        ({"ids": [[97, 98], [99]]}, ["ab", "c"]),
        ({"ids": [[97], []]}, ["a", ""]),
        ({"ids": [97, 0]}, ["a"]),
        ({"ids": [97, 0], "skip_special_tokens": True}, ["a"]),
        ({"ids": [97, 0], "skip_special_tokens": False}, ["a" + END]),
    ],
)
async def test_ids_are_texts_again_one_for_each_list(
    body: dict[str, Any], expected: list[str]
) -> None:
    response = await post("/decode", body)

    assert response.status_code == 200
    assert response.json() == expected


WRONG = "Input validation error: "


@pytest.mark.parametrize(
    ("path", "body", "refused"),
    [
        ("/tokenize", {"inputs": []}, (400, "Empty", "`inputs` cannot be empty")),
        ("/decode", {"ids": []}, (400, "Empty", "`ids` cannot be empty")),
        (
            "/tokenize",
            {"inputs": ["a"] * 4},
            (422, "Validation", "batch size 4 > maximum allowed batch size 3"),
        ),
        (
            "/decode",
            {"ids": [[97]] * 4},
            (422, "Validation", "batch size 4 > maximum allowed batch size 3"),
        ),
        (
            "/tokenize",
            {"inputs": ["a", "a" * 21]},
            (
                422,
                "Validation",
                WRONG + "`inputs[1]` must have less than 21 characters. Given: 21",
            ),
        ),
        (
            "/decode",
            {"ids": [97] * 21},
            (422, "Validation", WRONG + "`ids[0]` has 21 token ids; the limit is 20"),
        ),
        (
            "/tokenize",
            {"inputs": ["a" * 20, "a" * 11]},
            (422, "Validation", WRONG + "`inputs` has 31 characters in all; the limit is 30"),
        ),
        (
            "/decode",
            {"ids": [[97] * 20, [97] * 11]},
            (422, "Validation", WRONG + "`ids` has 31 token ids in all; the limit is 30"),
        ),
        (
            "/tokenize",
            {"inputs": ["a", [97]]},
            (422, "Validation", WRONG + "`inputs[1]` must be a string"),
        ),
        (
            "/decode",
            {"ids": [[97], "a"]},
            (422, "Validation", WRONG + "`ids[1]` must be a list of token ids"),
        ),
        (
            "/decode",
            {"ids": [[97], [97, 1000]]},
            (422, "Validation", WRONG + "`ids[1][1]` is 1000, which is no id"),
        ),
        (
            "/tokenize",
            {"inputs": "a", "prompt_name": "query"},
            (422, "Validation", WRONG + "`prompt_name` is 'query'; this model has: none"),
        ),
    ],
)
async def test_what_no_tokenizer_is_asked_is_refused_by_its_field(
    path: str, body: dict[str, Any], refused: tuple[int, str, str]
) -> None:
    service = FakeService(max_inputs=3, max_characters=20, max_request_tokens=30)

    assert refusal(await post(path, body, service)) == refused


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tokenize", {"inputs": None}, "inputs"),
        ("/tokenize", {"inputs": 5}, "inputs"),
        ("/tokenize", {}, "inputs"),
        ("/tokenize", {"inputs": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
        ("/decode", {"ids": "a"}, "ids[0]"),
        ("/decode", {"ids": [97, -1]}, "ids[0][1]"),
        ("/decode", {"ids": [97, 2**40]}, "ids[0][1]"),
        ("/decode", {"ids": [97, True]}, "ids[1]"),
        ("/decode", {"ids": [1.5]}, "ids[0]"),
        ("/decode", {"ids": [97], "skip_special_tokens": 1}, "skip_special_tokens"),
    ],
)
async def test_what_is_of_another_shape_is_refused(
    path: str, body: dict[str, Any], field: str
) -> None:
    status, kind, sentence = refusal(await post(path, body))

    assert (status, kind) == (422, "Validation")
    assert f"'{field}'" in sentence or f"`{field}`" in sentence


@pytest.mark.parametrize(
    ("path", "body"), [("/tokenize", {"inputs": "a"}), ("/decode", {"ids": [97]})]
)
@pytest.mark.usefixtures("virtual_time")
async def test_a_load_that_exceeds_the_timeout_is_not_awaited(
    path: str, body: dict[str, Any]
) -> None:
    service = FakeService({"name": ALIAS}, {"name": "/models/other"})
    service.encoder.releases["/models/other"] = asyncio.Event()
    async with service.client() as http:
        response = await http.post(
            path, json={**body, "model": "other"}, headers={"x-request-timeout": "0.05"}
        )

    assert refusal(response)[:2] == (408, "Overloaded")

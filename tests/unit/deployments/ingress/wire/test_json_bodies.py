"""JSON follows its standard and its content type, and arrays are written as numbers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from deployments.ingress.routing.route import Routes
from deployments.ingress.wire import json_parsing
from deployments.ingress.wire.json_bodies import json_lines, json_response
from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal
from tests.unit.deployments.ingress.routes_client import client_of

JSON = "application/json"


def _client() -> httpx.AsyncClient:
    routes = Routes(tag=None)

    @routes.add("POST", "/echo", scope=None)
    @routes.add("PUT", "/echo", scope=None)
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return {"read": {key: repr(value)[:40] for key, value in body.items()}}

    @routes.add("GET", "/echo", scope=None)
    async def plain() -> dict[str, Any]:
        return {"read": None}

    return client_of(routes)


async def _post(content: bytes, kind: str | None = "application/json") -> httpx.Response:
    async with _client() as http:
        headers = {} if kind is None else {"content-type": kind}
        return await http.post("/echo", content=content, headers=headers)


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"],
)
async def test_a_body_without_the_content_type_of_json_is_refused(kind: str | None) -> None:
    response = await _post(b'{"a":1}', kind)

    assert refusal(response) == (415, "unsupported_media_type", None)
    assert "application/json" in response.text


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "Application/JSON ;charset=UTF-8"],
)
async def test_a_body_with_the_content_type_of_json_is_read(kind: str) -> None:
    response = await _post(b'{"a":1}', kind)

    assert response.json() == {"read": {"a": "1"}}


async def test_a_request_without_a_body_needs_no_content_type() -> None:
    async with _client() as http:
        response = await http.get("/echo")

    assert response.json() == {"read": None}


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":-1e999}'),
        *(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"[" * 100_000),
        *(b"{", b'{"a":', b'{"a":1}}', b'{"a":1,}', b"{'a':1}", b'{"a":01}', b'{"a":.5}'),
        *(b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16")),
        *(b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}'),
        *(b'{"a":"\n"}', b'{"a":1}\0', b" ", b"\0", b"// a\n{}"),
    ],
    ids=lambda content: repr(content[:24]),
)
async def test_a_body_that_is_not_json_is_refused(content: bytes) -> None:
    assert refusal(await _post(content)) == (400, "invalid_json", None)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed", "/v1/collections/c/search"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"input": "a",\n "model": x}', "at line 2 column 11 (byte 25)"),
        ('{"input": "é🙂",\n "model": x}'.encode(), "at line 2 column 11 (byte 30)"),
        ('{"input": "café"}'.encode("latin-1"), "the body is not UTF-8 at byte 14 (0xE9)"),
        (
            b'{"input": ["a", "bc\\ud800"]}',
            "'input[1]' has a lone surrogate (U+D800) at character 2",
        ),
        (b'{"a": {"b": ["\\udfff\\ud83d\\ude00"]}}', "'a.b[0]' has a lone surrogate (U+DFFF) at"),
        (b'["a", {"\\udfff": 1}]', "(its name)' has a lone surrogate (U+DFFF) at character 0"),
        (b'{"\\udfff": 1}', "has a lone surrogate (U+DFFF) at character 0"),
        (b'{"input": "\\ud800", x}', "at line 1 column 12 (byte 11)"),
    ],
)
async def test_a_body_that_is_not_json_is_refused_with_the_place(
    path: str, content: bytes, says: str
) -> None:
    async with FakeService().client() as http:
        response = await http.post(path, content=content, headers={"content-type": JSON})

    assert response.status_code == 400
    assert says in str(response.json()["error"])


async def test_one_text_of_thousands_with_a_lone_surrogate_is_named() -> None:
    texts = ["a fine text"] * 2048
    texts[1017] = "some\ud83d\ude00more\ud83d"
    content = json.dumps({"input": texts}).encode()
    async with FakeService().client() as http:
        response = await http.post(
            "/v1/embeddings", content=content, headers={"content-type": JSON}
        )

    assert refusal(response) == (400, "invalid_json", None)
    assert "'input[1017]' has a lone surrogate (U+D83D) at character 9" in message(response)


async def test_numbers_are_not_searched_for_a_lone_surrogate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[type] = []
    look = json_parsing._lone_in

    def looking(value: Any) -> Any:
        looked_at.append(type(value))
        return look(value)

    monkeypatch.setattr(json_parsing, "_lone_in", looking)
    content = b'{"input":[' + b"1," * 100_000 + b'"\\ud800"]}'
    async with FakeService().client() as http:
        response = await http.post(
            "/v1/embeddings", content=content, headers={"content-type": JSON}
        )

    assert "'input[100000]' has a lone surrogate (U+D800) at character 0" in message(response)
    assert looked_at == [dict, list, str]


async def test_an_empty_body_is_refused() -> None:
    assert refusal(await _post(b""))[:2] == (400, "invalid_input")


async def test_the_last_of_a_repeated_key_counts() -> None:
    response = await _post(b'{"a":1,"b":2,"a":3}')

    assert response.json() == {"read": {"a": "3", "b": "2"}}


async def test_space_around_a_body_and_any_character_in_it_are_json() -> None:
    response = await _post(' \n{"é":"\\u0000🙂"}\t'.encode())

    assert response.json() == {"read": {"é": "'\\x00🙂'"}}


async def test_an_array_is_written_as_numbers() -> None:
    response = await json_response({"vector": np.array([0.5, -2], np.float32)})

    assert response.body == b'{"vector":[0.5,-2.0]}'
    assert response.headers["content-type"] == "application/json"


def test_lines_are_one_object_each() -> None:
    lines = json_lines({"row": row} for row in np.eye(2, dtype=np.float32)).split(b"\n")

    assert [orjson.loads(line) for line in lines[:-1]] == [{"row": [1, 0]}, {"row": [0, 1]}]
    assert lines[-1] == b""

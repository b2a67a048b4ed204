"""A body is read up to its limit and not a byte further, and JSON is what JSON's standard says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from deployments.ingress.body import BodyLimit, OrjsonRoute, json_response
from deployments.ingress.errors import install_handlers
from tests.unit.deployments.ingress.fake_service import refusal

LIMIT = 8
DISCONNECT: Message = {"type": "http.disconnect"}


class Application:
    """Reads what it is given to its end, twice as far as it should."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.received: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.received += [await receive(), await receive()]


class Exchange:
    """One request through the limit: what it sends, how much of that is read, what comes back."""

    def __init__(self, *messages: Message, declared: bytes | None = None) -> None:
        self.app = Application()
        self.unread = list(messages)
        self.sent: list[Message] = []
        headers = [] if declared is None else [(b"content-length", declared)]
        self.scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def run(self) -> Exchange:
        async def receive() -> Message:
            return self.unread.pop(0)

        async def send(message: Message) -> None:
            self.sent.append(message)

        await BodyLimit(self.app, LIMIT)(self.scope, receive, send)
        return self

    def body(self) -> bytes:
        """Return the body that the application was given, which must have come in one piece."""
        first, second = self.app.received
        assert first.keys() == {"type", "body", "more_body"}
        assert (first["type"], first["more_body"]) == ("http.request", False)
        assert second == DISCONNECT
        return bytes(first["body"])

    def error(self) -> dict[str, Any]:
        """Return the refusal, the application not having heard of the request."""
        assert self.app.scopes == []
        assert self.sent[0]["status"] == 413
        body = orjson.loads(self.sent[1]["body"])["error"]
        assert (body["code"], body["param"]) == ("body_too_large", "body")
        return dict(body)


def _chunks(*chunks: bytes) -> Iterable[Message]:
    for number, chunk in enumerate(chunks, start=1):
        yield {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=6), st.booleans())
async def test_exactly_the_bodies_within_the_limit_pass_whole(
    chunks: list[bytes], declares: bool
) -> None:
    whole = b"".join(chunks)
    declared = str(len(whole)).encode() if declares else None
    exchange = await Exchange(*_chunks(*chunks), DISCONNECT, declared=declared).run()

    if len(whole) <= LIMIT:
        assert exchange.body() == whole
        assert exchange.sent == []
    else:
        assert str(LIMIT) in exchange.error()["message"]


@pytest.mark.parametrize("declared", [b"9", b"99999999999999999999", b"9" * 5000])
async def test_a_length_too_large_is_refused_before_anything_is_read(declared: bytes) -> None:
    exchange = await Exchange(*_chunks(b"123456789"), declared=declared).run()

    assert exchange.error()["type"] == "invalid_request_error"
    assert len(exchange.unread) == 1


async def test_a_body_without_a_length_is_read_no_further_than_one_chunk_too_many() -> None:
    exchange = await Exchange(*_chunks(b"1234", b"5678", b"9", b"never read", b"")).run()

    assert "9 bytes; the limit is 8" in exchange.error()["message"]
    assert len(exchange.unread) == 2


async def test_a_body_longer_than_it_says_is_counted_as_it_is() -> None:
    exchange = await Exchange(*_chunks(b"12345", b"67890"), declared=b"2").run()

    assert "10 bytes" in exchange.error()["message"]


@pytest.mark.parametrize("declared", [b"0", b"7", b"", b"-1", b"x", b"1e9"])
async def test_a_body_shorter_than_it_says_or_says_nothing_sound_passes_as_it_is(
    declared: bytes,
) -> None:
    exchange = await Exchange(*_chunks(b"12", b"34"), DISCONNECT, declared=declared).run()

    assert exchange.body() == b"1234"


@pytest.mark.parametrize("before", [[], list(_chunks(b"12", b"34"))[:1]])
async def test_a_client_that_leaves_midway_is_not_answered(before: list[Message]) -> None:
    exchange = await Exchange(*before, DISCONNECT).run()

    assert exchange.app.scopes == []
    assert exchange.sent == []


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_passes_untouched(kind: str) -> None:
    messages: list[Message] = [{"type": f"{kind}.one"}, {"type": f"{kind}.two"}]
    exchange = Exchange(*messages)
    exchange.scope = {"type": kind}
    await exchange.run()

    assert exchange.app.received == messages
    assert exchange.app.scopes == [{"type": kind}]


def _client() -> httpx.AsyncClient:
    router = APIRouter(route_class=OrjsonRoute)

    @router.post("/echo")
    @router.put("/echo")
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return {"read": {key: repr(value)[:40] for key, value in body.items()}}

    @router.get("/echo")
    async def plain() -> dict[str, Any]:
        return {"read": None}

    app = FastAPI()
    install_handlers(app)
    app.include_router(router)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def _post(content: bytes, kind: str | None = "application/json") -> httpx.Response:
    async with _client() as http:
        headers = {} if kind is None else {"content-type": kind}
        return await http.post("/echo", content=content, headers=headers)


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"],
)
async def test_a_body_that_does_not_say_it_is_json_is_refused(kind: str | None) -> None:
    response = await _post(b'{"a":1}', kind)

    assert refusal(response) == (415, "not_json", None)
    assert "application/json" in response.text


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "Application/JSON ;charset=UTF-8"],
)
async def test_a_body_that_says_it_is_json_is_read(kind: str) -> None:
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
async def test_what_is_not_json_is_refused_as_such(content: bytes) -> None:
    assert refusal(await _post(content)) == (400, "invalid_json", None)


async def test_no_body_at_all_is_refused() -> None:
    assert refusal(await _post(b""))[:2] == (400, "invalid_input")


async def test_the_last_of_a_repeated_key_counts() -> None:
    response = await _post(b'{"a":1,"b":2,"a":3}')

    assert response.json() == {"read": {"a": "3", "b": "2"}}


async def test_space_around_a_body_and_any_character_in_it_are_json() -> None:
    response = await _post(' \n{"é":"\\u0000🙂"}\t'.encode())

    assert response.json() == {"read": {"é": "'\\x00🙂'"}}


def test_an_array_is_written_as_numbers() -> None:
    response = json_response({"vector": np.array([0.5, -2], np.float32)})

    assert response.body == b'{"vector":[0.5,-2.0]}'
    assert response.headers["content-type"] == "application/json"

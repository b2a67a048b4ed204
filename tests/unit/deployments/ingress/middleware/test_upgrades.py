"""Requests with an upgrade offer or with a header in Latin-1 are answered.

Over real connections to uvicorn, as Serve starts it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvicorn.config
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.asgi import build_asgi
from deployments.ingress.middleware.upgrades import DecliningProtocol, decline_upgrades
from deployments.launch.ray_environment import PROXY_CALLBACK
from tests.unit.deployments.ingress.fake_service import FakeService

BODY = b'{"input": "aaabbbb"}'
OFFERS = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    "TLS": b"connection: keep-alive, Upgrade\r\nupgrade: TLS/1.0\r\n",
    "websocket": b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
}
every_offer = pytest.mark.parametrize("offer", OFFERS)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Yield the port of the application."""
    async with _serving(build_asgi(FakeService()), monkeypatch) as port:
        yield port


@asynccontextmanager
async def _serving(application: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Yield the port of an application that a server of Serve's kind serves."""
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS))
    assert decline_upgrades() == []
    config = uvicorn.Config(lambda: application, factory=True, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # so that a client may come before the server does
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield int(listening.getsockname()[1])
        server.should_exit = True
        await serving
    assert config.http_protocol_class is DecliningProtocol


def _post(body: bytes, *headers: bytes) -> bytes:
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    return head + b"".join(headers) + b"\r\n" + body


async def _exchange(port: int, *pieces: bytes, answers: int = 1) -> list[tuple[int, bytes]]:
    """Send the pieces one by one, and return the status and the body of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    found = []
    for _ in range(answers):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.startswith(b"content-length")
        ]
        found.append((int(head.split()[1]), await reader.readexactly(length)))
    writer.close()
    return found


def _vector(answer: tuple[int, bytes]) -> list[float]:
    status, body = answer
    assert status == 200, body
    vector: list[float] = json.loads(body)["data"][0]["embedding"]
    return vector


@every_offer
async def test_the_body_of_a_request_with_an_offer_is_read(port: int, offer: str) -> None:
    length = b"content-length: %d\r\n" % len(BODY)
    whole = _post(BODY, OFFERS[offer], length)
    chunked = _post(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
        OFFERS[offer],
        b"transfer-encoding: chunked\r\n",
    )
    for request in (whole, chunked):
        assert _vector((await _exchange(port, request))[0]) == pytest.approx([0.6, 0.8, 0, 0])


@every_offer
async def test_a_request_with_an_offer_may_arrive_in_any_chunks(port: int, offer: str) -> None:
    request = _post(BODY, OFFERS[offer], b"content-length: %d\r\n" % len(BODY))
    for size in (1, 7, 64):
        pieces = [request[at : at + size] for at in range(0, len(request), size)]
        (answer,) = await _exchange(port, *pieces)
        assert _vector(answer) == pytest.approx([0.6, 0.8, 0, 0])


@every_offer
async def test_the_connection_serves_further_requests(port: int, offer: str) -> None:
    length = b"content-length: %d\r\n" % len(BODY)
    offering, plain = _post(BODY, OFFERS[offer], length), _post(BODY, length)
    answers = await _exchange(port, plain + offering + offering + plain, answers=4)

    assert [_vector(one) for one in answers] == [pytest.approx([0.6, 0.8, 0, 0])] * 4


async def test_a_websocket_request_gets_an_http_error(port: int) -> None:
    head = b"GET /v1/embeddings HTTP/1.1\r\nhost: test\r\n%b\r\n" % OFFERS["websocket"]
    ((status, body),) = await _exchange(port, head)

    assert status == 405
    assert json.loads(body)["error"]["code"] == "method_not_allowed"


async def test_invalid_http_is_refused(port: int) -> None:
    ((status, _),) = await _exchange(port, b"\x16\x03\x01\x02\x00\r\n\r\n")

    assert status == 400


def test_rays_proxies_can_find_the_function() -> None:
    module, _, name = PROXY_CALLBACK.partition(":")

    assert (module, name) == (decline_upgrades.__module__, decline_upgrades.__name__)


@pytest.mark.parametrize(
    ("sent", "read"), [("é".encode("latin-1"), "é"), ("é".encode(), "é"), (b"a\xff\x80", "aÿ\x80")]
)
async def test_every_header_can_be_read_as_utf_8(
    sent: bytes, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        # As Serve reads it before it asks the application.
        name = dict(scope["headers"])[b"x-session-id"].decode()
        await Response(name)(scope, receive, send)

    async with _serving(echo, monkeypatch) as port:
        head = b"GET / HTTP/1.1\r\nhost: test\r\nx-session-id: " + sent + b"\r\n\r\n"
        (answer,) = await _exchange(port, head)

    assert answer == (200, read.encode())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([b"mine"], b"mine"),
        ([b"!~" * 64], b"!~" * 64),
        ([b"!~" * 64 + b"!"], b""),
        ([b"two words"], b""),
        ([b""], b""),
        ([b"a\tb"], b""),
        (["é".encode()], b""),
        ([b"\xff"], b""),
        ([b"first", b"second"], b"first"),
        ([b"\xff", b"second"], b"second"),
    ],
)
async def test_a_request_id_that_must_not_be_in_a_log_is_left_out(
    sent: list[bytes], kept: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
        await Response(b" ".join(ids))(scope, receive, send)

    async with _serving(echo, monkeypatch) as port:
        lines = b"".join(b"X-Request-Id: " + one + b"\r\n" for one in sent)
        head = b"GET / HTTP/1.1\r\nhost: test\r\n" + lines + b"\r\n"
        (answer,) = await _exchange(port, head)

    assert answer == (200, kept)

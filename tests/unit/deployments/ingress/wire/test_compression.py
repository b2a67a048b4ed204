"""Large JSON is compressed for clients that accept it; other responses are not."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from starlette.responses import Response, StreamingResponse

from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.routing.route import Routes
from deployments.ingress.routing.router import Router
from deployments.ingress.wire.compression import accepts_gzip
from tests.unit.deployments.ingress.fake_service import FakeService

LEAST = 1000
VECTOR = np.random.default_rng(0).standard_normal(400)
NUMBERS = json.dumps(VECTOR.tolist()).encode()
BASE64 = json.dumps(base64.b64encode(VECTOR.tobytes()).decode()).encode()
JSON = "application/json"


@dataclass(frozen=True)
class Sent:
    """A response as it was sent."""

    body: bytes
    headers: httpx.Headers

    @property
    def encoding(self) -> str:
        """Return what the body says it is."""
        return str(self.headers.get("content-encoding", "identity"))


async def _sent(
    answer: Response,
    encoding: str | None = "gzip",
    *,
    method: str = "GET",
    least: int | None = LEAST,
) -> Sent:
    routes = Routes(tag=None)

    @routes.add("GET", "/any", scope=None)
    async def respond() -> Response:
        return answer

    service = FakeService(compress_bytes=least)
    app = RequestMiddleware(
        Router(routes, service).answer,
        service.settings,
        service.keys,
        RequestStats(),
        LargeBodies(1.0),
        {},
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        del http.headers["accept-encoding"]
        headers = {} if encoding is None else {"accept-encoding": encoding}
        async with http.stream(method, "/any", headers=headers) as response:
            body = b"".join([part async for part in response.aiter_raw()])
            return Sent(body, response.headers)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate, br", "br;q=1, GZIP; q=0.5", "*"])
async def test_large_json_is_compressed_for_clients_that_accept_gzip(encoding: str) -> None:
    sent = await _sent(Response(NUMBERS, media_type=JSON), encoding)

    assert sent.encoding == "gzip"
    assert gzip.decompress(sent.body) == NUMBERS
    assert len(sent.body) < 0.6 * len(NUMBERS)
    assert sent.headers["content-length"] == str(len(sent.body))
    assert sent.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("encoding", [None, "", "identity", "br, deflate", "gzip;q=0", "*;q=0.0"])
async def test_other_clients_get_the_uncompressed_bytes(encoding: str | None) -> None:
    sent = await _sent(Response(NUMBERS, media_type=JSON), encoding)

    assert sent.encoding == "identity"
    assert sent.body == NUMBERS
    assert sent.headers["vary"] == "accept-encoding", "a cache on the way must know"


@pytest.mark.parametrize(
    "answer",
    [
        Response(NUMBERS[: LEAST - 1], media_type=JSON),
        Response(BASE64, media_type=JSON),
        Response(VECTOR.tobytes(), media_type="application/octet-stream"),
        Response(gzip.compress(NUMBERS), media_type=JSON, headers={"content-encoding": "gzip"}),
    ],
    ids=["small", "base64", "numbers in bytes", "compressed already"],
)
async def test_a_response_that_shrinks_little_is_not_compressed(answer: Response) -> None:
    sent = await _sent(answer)

    assert sent.body == answer.body
    assert sent.headers["content-length"] == str(len(answer.body))


async def test_a_stream_is_not_compressed() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield NUMBERS
        yield NUMBERS

    sent = await _sent(StreamingResponse(lines(), media_type="application/x-ndjson"))

    assert (sent.encoding, sent.body) == ("identity", NUMBERS * 2)


async def test_head_and_a_setting_of_none_compress_nothing() -> None:
    head = await _sent(Response(NUMBERS, media_type=JSON), method="HEAD")
    off = await _sent(Response(NUMBERS, media_type=JSON), least=None)

    assert (head.encoding, head.body) == ("identity", b"")
    assert head.headers["content-length"] == str(len(NUMBERS))
    assert (off.encoding, off.body) == ("identity", NUMBERS)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed"])
async def test_vectors_are_the_same_compressed_or_not(path: str) -> None:
    body = {"input": ["abc", "d"] * 100, "inputs": ["abc", "d"] * 100}
    del body["inputs" if path == "/v1/embeddings" else "input"]
    async with FakeService(compress_bytes=LEAST).client() as http:
        packed = await http.post(path, json=body, headers={"accept-encoding": "gzip"})
        plain = await http.post(path, json=body, headers={"accept-encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


def test_an_invalid_accept_encoding_disables_compression() -> None:
    for value in (b"\xff\xfe", b"gzipped", b"x-gzipper", b"q=1", b"," * 10_000, b"gzip;q=x"):
        assert not accepts_gzip({b"accept-encoding": value})

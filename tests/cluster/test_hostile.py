"""Hostile input gets a correct answer or a clear refusal, at once.

The whole module must leave the ingress alive, and not much larger than it was.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from deployments.launch.haproxy import BODY_WAIT_S
from embedder.core.types import Vectors
from tests.cluster.raw_http import Reply, chunked, exchange, post
from tests.cluster.service import BODY_GRACE_S, RunningService

PROMPT_S = 5.0
SLOW_S = max(2 * BODY_GRACE_S, BODY_WAIT_S) + PROMPT_S
"""The grace until the first byte and after it; the rest is for a busy machine."""

GROWTH_BYTES = 64 * 2**20
GOOD = b'{"input": "a"}'
BLNS = Path(os.environ.get("NAUGHTY_STRINGS", "none"))
"""A JSON file of strings: the Big List of Naughty Strings by Max Woolf, for one."""

STRINGS = [
    " ",
    "\t\n\r",
    "\x00",
    "a\x00b",
    "\x01\x02\x1b\x7f\x80\x9f",
    "\ufeff\u200b\u200d\u2060",
    "\u202eright to left\u202c",
    "\ufffe\uffff\U0010ffff",
    "𝕙𝕖𝕝𝕝𝕠 𝔴𝔬𝔯𝔩𝔡",
    "مرحبا שלום 你好 こんにちは สวัสดี",
    "👩‍👩‍👧‍👦" * 50,
    "Z\u0341a\u0323l\u0301g\u0317o\u035d" * 100,
    "ﷺ" * 200,
    "[CLS] [SEP] [PAD] [MASK] [UNK] </s> <|endoftext|>",
    "'; DROP TABLE vectors; --",
    "<script>alert(1)</script>",
    "${jndi:ldap://127.0.0.1/a} {{7*7}} %n%n%s `id` $(id)",
    "../../../../etc/passwd\x00.txt",
    "NaN null undefined true 1e999 -0 0x10 Infinity",
    "x" * 20_000,
    "word " * 20_000,
    "\u0301" * 20_000,
    "1" * 20_000,
    " " * 20_000,
]

BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "null": (b"null", 400),
    "a list": (b"[]", 400),
    "160,000 combining marks": (json.dumps({"input": "e" + "\u0301" * 160_000}).encode(), 400),
    "a lone high surrogate": (rb'{"input": "\ud800"}', 400),
    "a lone low surrogate": (rb'{"input": "a\udc00b"}', 400),
    "lists 100,000 deep": (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "objects 100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "NaN": (b'{"input": NaN}', 400),
    "an id of NaN": (b'{"input": [NaN]}', 400),
    "dimensions of 1e999": (b'{"input": "a", "dimensions": 1e999}', 400),
    "an id of 5,000 digits": (b'{"input": [' + b"9" * 5000 + b"]}", 400),
    "an id below zero": (b'{"input": [-1]}', 400),
    "a key twice": (b'{"input": "b", "input": "a"}', 200),
    "10,000 unknown keys": (json.dumps({str(at): at for at in range(10_000)}).encode(), 400),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, 400),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400),
    "invalid UTF-8": (b'{"input": "\xff\xfe"}', 400),
    "an overlong slash": (b'{"input": "\xc0\xaf"}', 400),
    "NUL, escaped": (rb'{"input": "a\u0000b"}', 200),
    "NUL, raw": (b'{"input": "a\x00b"}', 400),
    "nothing but NUL": (b"\x00" * 100_000, 400),
    "more after the end": (GOOD + b"x", 400),
}

REQUESTS: dict[str, tuple[bytes, int]] = {
    "text": (post(GOOD, content_type="text/plain"), 415),
    "no content-type": (post(GOOD, content_type=""), 415),
    "a form": (post(b"input=a", content_type="application/x-www-form-urlencoded"), 415),
    "a form in parts": (
        post(
            b'--x\r\ncontent-disposition: form-data; name="input"\r\n\r\na\r\n--x--\r\n',
            content_type="multipart/form-data; boundary=x",
        ),
        415,
    ),
    "a gzip bomb": (
        post(
            gzip.compress(b'{"input": "' + b"a" * 10**8 + b'"}'), headers=["content-encoding: gzip"]
        ),
        415,
    ),
    "gzip": (post(gzip.compress(GOOD), headers=["content-encoding: gzip"]), 415),
    "a length of 10^17": (post(GOOD, length=10**17), 413),
    "a length that is too short": (post(GOOD, length=5), 400),
    "20 MB in chunks": (chunked(*[b"a" * 2**16] * 320, b""), 413),
    "chunks": (chunked(GOOD[:3], GOOD[3:], b""), 200),
    "an offer of TLS": (post(GOOD, headers=["connection: Upgrade", "upgrade: TLS/1.0"]), 200),
    "an offer of HTTP/2": (post(GOOD, headers=["connection: Upgrade", "upgrade: h2c"]), 200),
    "a WebSocket": (
        b"GET /v1/embeddings HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        405,
    ),
    "a path of control characters": (b"GET /%00%0a/../x HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    "a path that is not UTF-8": (b"GET /%ff HTTP/1.1\r\nhost: a\r\n\r\n", 400),
}

UNFRAMED: dict[str, bytes] = {
    "a length below zero": post(GOOD, length=-1),
    "a length of 400 digits": post(GOOD, length="9" * 400),
    "a length in words": post(GOOD, length="many"),
    "two lengths": post(GOOD, headers=["content-length: 3"]),
    "a length and chunks": post(GOOD, headers=["content-length: 3", "transfer-encoding: chunked"]),
    "a chunk of no size": post(b"zz\r\n", headers=["transfer-encoding: chunked"]),
    "a chunk of 2^72 bytes": post(b"f" * 18 + b"\r\n", headers=["transfer-encoding: chunked"]),
    "a header of 100 kB": post(GOOD, headers=["x-a: " + "a" * 100_000]),
    "1,000 headers": post(GOOD, headers=[f"x-{at}: a" for at in range(1000)]),
    "a path of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
}
"""What is no request at all, or may be read as two."""


STALLED = [post(b"", length=100), chunked(GOOD), post(b"", headers=["transfer-encoding: chunked"])]


@pytest.fixture(scope="module", autouse=True)
def ingress(service: RunningService) -> Iterator[None]:
    """See that the processes of the ingress are the same ones afterwards, and not much larger."""
    before = {pid: _resident_bytes(pid) for pid in service.replicas("Ingress")}
    yield
    after = {pid: _resident_bytes(pid) for pid in service.replicas("Ingress")}
    assert before
    assert before.keys() <= after.keys()
    assert all(after[pid] - size < GROWTH_BYTES for pid, size in before.items()), (before, after)


def _naughty() -> list[str]:
    return [text for text in json.loads(BLNS.read_text()) if text]


@pytest.mark.parametrize(
    "strings",
    [
        pytest.param(STRINGS, id="own"),
        pytest.param(
            _naughty() if BLNS.exists() else [],
            marks=pytest.mark.skipif(not BLNS.exists(), reason="NAUGHTY_STRINGS names no list"),
            id="blns",
        ),
    ],
)
def test_a_naughty_string_has_the_same_vector_alone_and_among_others(
    service: RunningService, strings: list[str]
) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        alone = []
        for text in strings:
            began = time.monotonic()
            alone.append(_vectors(client, [text])[0])
            assert time.monotonic() - began < PROMPT_S, repr(text[:50])
        # An additional space, so that they are not in the cache.
        together = _vectors(client, [f"{text} " for text in strings])

    assert (np.stack(alone) * together).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_answered_or_refused(service: RunningService, name: str) -> None:
    body, status = BODIES[name]

    _check(exchange(service.url, post(body)), status, PROMPT_S)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_answered_or_refused(service: RunningService, name: str) -> None:
    request, status = REQUESTS[name]

    _check(exchange(service.url, request), status, PROMPT_S)


@pytest.mark.parametrize("name", UNFRAMED)
def test_a_request_without_a_clear_end_is_refused_by_the_server(
    service: RunningService, name: str
) -> None:
    """The server refuses it before the application, so the answer has no error envelope."""
    reply = exchange(service.url, UNFRAMED[name])

    assert reply.status in (400, 414, 431)
    assert reply.seconds < PROMPT_S


def test_a_stalled_body_is_given_up(service: RunningService) -> None:
    with ThreadPoolExecutor(len(STALLED)) as threads:
        replies = threads.map(lambda head: exchange(service.url, head), STALLED)

    for reply in replies:
        _check(reply, 408, SLOW_S)


def test_slow_bodies_are_given_up_and_delay_no_others(service: RunningService) -> None:
    pieces = [post(b"", length=len(GOOD)), *(GOOD[at : at + 1] for at in range(len(GOOD)))]
    with ThreadPoolExecutor(50) as threads:
        slow = [threads.submit(exchange, service.url, *pieces, pause_s=1.0) for _ in range(50)]
        time.sleep(0.3)
        _check(exchange(service.url, post(GOOD)), 200, PROMPT_S)

    for reply in slow:
        _check(reply.result(), 408, SLOW_S)


def _check(reply: Reply, status: int, within_s: float) -> None:
    """See that an answer is a unit vector, or a refusal in the envelope of OpenAI's API."""
    assert reply.status == status, reply.body[:500]
    assert reply.seconds < within_s
    assert reply.content_type == "application/json"
    if status == 200:
        (row,) = reply.json()["data"]
        assert abs(np.linalg.norm(np.array(row["embedding"])) - 1) < 1e-3
    else:
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]


def _vectors(client: httpx.Client, texts: list[str]) -> Vectors:
    answer = client.post("/v1/embeddings", json={"input": texts})
    assert answer.status_code == 200, (texts[0][:50], answer.text[:500])
    vectors = np.array([row["embedding"] for row in answer.json()["data"]], np.float32)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    return vectors


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096

"""A request is repeated as the service asks, until its deadline."""

from __future__ import annotations

import httpx
import pytest

from embedder_client.errors import (
    AccessDenied,
    ClientError,
    ConnectionFailed,
    InvalidAnswer,
    InvalidRequest,
    NotFound,
    ServiceFailure,
    Unavailable,
)
from embedder_client.transport import Request
from tests.unit.client.fake_service import Clock, FakeService, refusal, transport

TEXTS = Request("POST", "v1/embeddings", {"input": ["a"]})


async def test_a_refused_request_waits_as_long_as_the_service_names() -> None:
    clock = Clock()
    full = refusal(429, "overloaded", **{"retry-after": "2", "retry-after-ms": "1500"})
    service = FakeService([full, httpx.ConnectError("refused")])
    await transport(service, clock).send(TEXTS)
    assert len(service.requests) == 3
    assert 1.5 <= clock.slept[0] <= 1.5 * 1.25
    assert 0.2 <= clock.slept[1] <= 0.25


async def test_a_request_is_given_up_before_a_wait_beyond_its_deadline() -> None:
    clock = Clock()
    full = [refusal(429, "overloaded", **{"retry-after": "4"}) for _ in range(9)]
    service = FakeService(list(full))
    with pytest.raises(Unavailable, match="overloaded") as error:
        await transport(service, clock).send(TEXTS, timeout_s=10)
    assert (error.value.status, error.value.code, error.value.request_id) == (
        429,
        "overloaded",
        "r1",
    )
    assert clock.now < 10
    assert len(service.requests) == 1 + len(clock.slept)


async def test_a_lost_connection_is_given_up_at_the_deadline() -> None:
    clock = Clock()
    service = FakeService([httpx.ReadError("reset") for _ in range(99)])
    with pytest.raises(ConnectionFailed, match="ReadError reset"):
        await transport(service, clock).send(TEXTS)
    assert 45 < clock.now < 60


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (413, InvalidRequest),
        (422, InvalidRequest),
    ],
)
async def test_an_error_of_the_request_is_not_repeated(
    status: int, kind: type[ClientError]
) -> None:
    service = FakeService([refusal(status, "code", "input")])
    with pytest.raises(kind, match="'input': code"):
        await transport(service, Clock()).send(TEXTS)
    assert len(service.requests) == 1


async def test_the_service_decides_whether_a_failure_is_repeated() -> None:
    service = FakeService([refusal(500, "internal_error", **{"x-should-retry": "false"})])
    with pytest.raises(ServiceFailure):
        await transport(service, Clock()).send(TEXTS)
    service = FakeService([refusal(500, "internal_error")])
    await transport(service, Clock()).send(TEXTS)
    assert len(service.requests) == 2


async def test_the_deadline_travels_with_every_attempt() -> None:
    clock = Clock()
    service = FakeService([refusal(503, "unavailable", **{"retry-after": "5"})])
    await transport(service, clock).send(TEXTS, timeout_s=30)
    sent = [float(request.headers["x-request-timeout"]) for request in service.requests]
    assert sent[0] == 30
    assert sent[1] == pytest.approx(30 - clock.slept[0], abs=0.001)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": "too long", "error_type": "Validation"}', "too long"),
        (b'{"message": "too long"}', "too long"),
        (b'{"detail": "too long"}', "too long"),
        (b"<html>Bad gateway</html>", "status 400: <html>"),
        (b"[1]", r"status 400: \[1\]"),
    ],
)
async def test_errors_of_every_shape_have_a_message(content: bytes, message: str) -> None:
    service = FakeService([httpx.Response(400, content=content)])
    with pytest.raises(InvalidRequest, match=message):
        await transport(service, Clock()).send(TEXTS)


async def test_a_page_in_place_of_an_answer_is_named() -> None:
    page = httpx.Response(200, content=b"<html>", headers={"content-type": "text/html"})
    with pytest.raises(InvalidAnswer, match="text/html"):
        await transport(FakeService([page]), Clock()).send(TEXTS)

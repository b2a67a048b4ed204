"""A service in memory for the client, and a clock that only waiting moves."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from embedder_client import AsyncClient
from embedder_client.concurrency import RequestLimit
from embedder_client.transport import Transport

Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Clock:
    """Seconds that pass while a coroutine sleeps, and at no other time."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class FakeService:
    """Embeds a text as (its length, 1), and answers with ``failures`` first."""

    failures: list[httpx.Response | Exception] = field(default_factory=list)
    max_inputs: int = 2048
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        body = json.loads(request.content)
        if len(body["input"]) > self.max_inputs:
            return refusal(400, "limit_exceeded", "input")
        for row, text in enumerate(body["input"]):
            if text == "bad":
                return refusal(400, "invalid_input", f"input[{row}]")
        return httpx.Response(200, json=embeddings(body["input"]))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Return the JSON of each request."""
        return [json.loads(request.content) for request in self.requests]


def transport(answer: Answer, clock: Clock, *, timeout_s: float = 60.0) -> Transport:
    """Return a transport to a service in memory, in the time of a clock."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://service/")
    return Transport(http, RequestLimit(8), timeout_s, clock, clock.sleep)


def client(answer: Answer, **options: Any) -> AsyncClient:
    """Return a client of a service in memory."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return AsyncClient("http://service", http=http, **options)


def refusal(status: int, code: str, param: str = "", **headers: str) -> httpx.Response:
    """Return an error in the shape of OpenAI."""
    error = {"message": f"'{param}': {code}", "type": "x", "param": param or None, "code": code}
    return httpx.Response(status, json={"error": error}, headers={"x-request-id": "r1", **headers})


def embeddings(texts: list[str]) -> dict[str, Any]:
    """Return the answer for texts, whose tokens are their characters."""
    return {
        "data": [
            {"index": row, "embedding": base64_of([len(text), 1])} for row, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": sum(map(len, texts))},
    }


def base64_of(numbers: list[float]) -> str:
    """Return little-endian float32 in base64."""
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()

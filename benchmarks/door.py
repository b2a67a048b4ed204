"""What the HTTP door costs: whole requests through the application, beside the least they can take.

The application is the real one, called as a server calls it, over a service that has its answer
already. Beside each request stands the bare work that no door can leave out: orjson on the text
that came, orjson or base64 on the array that goes. The two alternate; the table gives medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import orjson
from starlette.types import ASGIApp, Message

from benchmarks.texts import sample
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input, Vectors

ROWS = 2048
WIDTH = 384
IDS = 32
"""Token ids of an input that is sent as ids."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request through the door, and the bare work in it, in milliseconds."""

    name: str
    door_ms: float
    least_ms: float
    body_bytes: int
    answer_bytes: int

    @property
    def ratio(self) -> float:
        """Return how many times the least the door takes."""
        return self.door_ms / self.least_ms


@dataclass(frozen=True, slots=True)
class Case:
    """A request, the vectors that answer it, and the bare work in it."""

    name: str
    body: Any
    vectors: Vectors
    least: Callable[[bytes], Any]
    accept: str = "application/json"


class Answered(Service):
    """A service that has its answer already, whatever it is asked."""

    def __init__(self, vectors: Vectors) -> None:
        nobody = cast("Handle", None)
        super().__init__(ServeSettings(), Handles(nobody, {"Encoder": nobody}, {}, {}, nobody))
        count = len(vectors)
        self._answer = Embeddings(
            vectors, np.ones(count, np.int32), np.zeros(count, np.bool_), 0, "all-MiniLM-L6-v2"
        )

    async def embed(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions,
        deadline: Deadline,
        *,
        model: str | None = None,
    ) -> Embeddings:
        """Return the answer."""
        return self._answer


def main() -> None:
    """Measure, and print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    rows = [asyncio.run(measure(case, rounds)) for case in cases()]
    print(f"{ROWS} inputs, {WIDTH} components, median of {rounds} rounds")
    print(f"{'':44}{'door, ms':>10}{'least, ms':>11}{'ratio':>7}{'MB in':>8}{'MB out':>8}")
    for row in rows:
        sizes = f"{row.body_bytes / 1e6:8.2f}{row.answer_bytes / 1e6:8.2f}"
        print(f"{row.name:44}{row.door_ms:10.2f}{row.least_ms:11.2f}{row.ratio:7.2f}{sizes}")
    print(json.dumps([asdict(row) for row in rows]))


def cases() -> list[Case]:
    """Return every request that is measured: what is large is either the question or the answer."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((ROWS, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = random.integers(0, 30_000, (ROWS, IDS)).tolist()
    floats = orjson.OPT_SERIALIZE_NUMPY
    one = {"input": "hello world"}
    return [
        Case(
            "a large answer, floats", one, vectors, lambda _: orjson.dumps(vectors, option=floats)
        ),
        Case(
            "a large answer, base64",
            {**one, "encoding_format": "base64"},
            vectors,
            lambda _: base64.b64encode(vectors.tobytes()),
        ),
        Case(
            "a large answer, application/octet-stream",
            one,
            vectors,
            lambda _: vectors.tobytes(),
            accept="application/octet-stream",
        ),
        Case("a large question, texts", {"input": sample(ROWS, seed=0)}, vectors[:1], orjson.loads),
        Case("a large question, token ids", {"input": ids}, vectors[:1], orjson.loads),
        Case("one text, one vector", one, vectors[:1], _little),
    ]


async def measure(case: Case, rounds: int) -> Row:
    """Time a case, each round the door and then the least.

    Raises:
        RuntimeError: the door refused it.
    """
    app = build_asgi(Answered(case.vectors))
    body = orjson.dumps(case.body)
    door, least = [], []
    answer = b""
    for number in range(rounds + 1):
        began = time.perf_counter()
        answer = await _request(app, body, case.accept)
        middle = time.perf_counter()
        case.least(body)
        if number > 0:  # the first round warms up
            door.append(middle - began)
            least.append(time.perf_counter() - middle)
    door_ms, least_ms = (statistics.median(times) * 1000 for times in (door, least))
    return Row(case.name, door_ms, least_ms, len(body), len(answer))


async def _request(app: ASGIApp, body: bytes, accept: str) -> bytes:
    """Call the application as a server does, and return the body of its answer."""
    sent: list[Message] = []
    asked: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"content-type": "application/json", "accept": accept, "host": "here"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/embeddings",
        "raw_path": b"/v1/embeddings",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
    }
    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent)
    if sent[0]["status"] != 200:
        raise RuntimeError(answer.decode())
    return answer


def _little(body: bytes) -> bytes:
    orjson.loads(body)
    return orjson.dumps(np.zeros(WIDTH, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    main()

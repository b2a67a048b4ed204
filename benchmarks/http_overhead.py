"""The time of requests in the HTTP application, beside the least that any application can take.

The application is the real one, over a service that has its answer already. The least is the
reading and writing alone: orjson on the text of the request, orjson or base64 on the array of the
answer. The two alternate; the table gives medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import orjson

from benchmarks.asgi_client import post
from benchmarks.one_model import one_model
from benchmarks.texts import sample
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from embedder.core.request import Embeddings
from embedder.core.types import Vectors

ROWS = 2048
WIDTH = 384
IDS = 32
"""Token ids of an input that is sent as ids."""


@dataclass(frozen=True, slots=True)
class Row:
    """The milliseconds of one request in the application, and of reading and writing alone."""

    name: str
    application_ms: float
    least_ms: float
    body_bytes: int
    answer_bytes: int

    @property
    def ratio(self) -> float:
        """Return the application's time as a multiple of the least."""
        return self.application_ms / self.least_ms


@dataclass(frozen=True, slots=True)
class Case:
    """A request, the vectors that answer it, and the reading and writing alone."""

    name: str
    body: Any
    vectors: Vectors
    least: Callable[[bytes], Any]
    accept: str = "application/json"


class Answered(Service):
    """A service that gives every request the same answer."""

    def __init__(self, vectors: Vectors) -> None:
        none = cast("Handle", None)
        # The width of a model that is not there would be needed for a smaller limit.
        settings = ServeSettings.model_validate({"limits": {"max_response_bytes": 2**34}})
        super().__init__(settings, Handles(none, {"Encoder": none}, {}, {}, none))
        count = len(vectors)
        embeddings = Embeddings(
            vectors, np.ones(count, np.int32), np.zeros(count, np.bool_), 0, "all-MiniLM-L6-v2"
        )
        self.models = one_model(_Answer(embeddings))


@dataclass(frozen=True, slots=True)
class _Answer:
    """A pipeline that has its answer already."""

    embeddings: Embeddings

    async def embed(self, *_: object) -> Embeddings:
        return self.embeddings


def main() -> None:
    """Measure, and print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    rows = [asyncio.run(measure(case, rounds)) for case in cases()]
    print(f"{ROWS} inputs, {WIDTH} components, median of {rounds} rounds")
    print(f"{'':44}{'time, ms':>10}{'least, ms':>11}{'ratio':>7}{'MB in':>8}{'MB out':>8}")
    for row in rows:
        sizes = f"{row.body_bytes / 1e6:8.2f}{row.answer_bytes / 1e6:8.2f}"
        print(f"{row.name:44}{row.application_ms:10.2f}{row.least_ms:11.2f}{row.ratio:7.2f}{sizes}")
    print(json.dumps([asdict(row) for row in rows]))


def cases() -> list[Case]:
    """Return every request that is measured: the request or the answer is large, or neither."""
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
        Case("a large request, texts", {"input": sample(ROWS, seed=0)}, vectors[:1], orjson.loads),
        Case("a large request, token ids", {"input": ids}, vectors[:1], orjson.loads),
        Case("one text, one vector", one, vectors[:1], _little),
    ]


async def measure(case: Case, rounds: int) -> Row:
    """Time a case, in each round the application and then the least.

    Raises:
        RuntimeError: the application refused it.
    """
    app = build_asgi(Answered(case.vectors))
    body = orjson.dumps(case.body)
    application, least = [], []
    answer = b""
    for number in range(rounds + 1):
        began = time.perf_counter()
        answer = await post(app, "/v1/embeddings", body, case.accept)
        middle = time.perf_counter()
        case.least(body)
        if number > 0:  # the first round warms up
            application.append(middle - began)
            least.append(time.perf_counter() - middle)
    application_ms, least_ms = (statistics.median(times) * 1000 for times in (application, least))
    return Row(case.name, application_ms, least_ms, len(body), len(answer))


def _little(body: bytes) -> bytes:
    orjson.loads(body)
    return orjson.dumps(np.zeros(WIDTH, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    main()

"""The routes of an overload, their requests, and the points that they need.

All requests are distinct, so no cache has an answer, and each refused one has a place of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import aiohttp
import numpy as np
import orjson

from benchmarks.http_load import HttpRequest
from benchmarks.texts import sample

COLLECTION = "overload"
WIDTH = 384
MARK = 987654321
"""Stands in a body where each request has a number of its own."""

POINTS = 20_000
"""Points that are searched and counted."""

ROUTES = ("embed", "search", "upsert", "count", "cluster", "similarity")


def embedded(texts: list[str]) -> HttpRequest:
    """Return the request for the vectors of texts."""
    body = orjson.dumps({"input": texts, "encoding_format": "base64"})
    return HttpRequest("/v1/embeddings", body)


async def prepare(session: aiohttp.ClientSession, route: str) -> None:
    """Store the points that a route needs."""
    if route not in ("search", "count"):
        return
    random = np.random.default_rng(0)
    for first in range(0, POINTS, 1000):
        points = [
            {"id": f"{first + at}", "vector": vector, "metadata": {"n": first + at}}
            for at, vector in enumerate(_vectors(random, 1000))
        ]
        path = f"/v1/collections/{COLLECTION}/points"
        async with session.post(path, json={"points": points}) as answer:
            answer.raise_for_status()


def requests(route: str, seed: int, size: int) -> Iterator[HttpRequest]:
    """Yield requests without an end; ``size`` texts are in each of those for vectors."""
    if route == "embed":
        for block in range(seed * 1000, (seed + 1) * 1000):
            texts = [f"{text} {block}" for text in sample(1000, seed=block)]
            for start in range(0, len(texts) - size + 1, size):
                yield embedded(texts[start : start + size])
        return
    random = np.random.default_rng(seed)
    path, body = _numeric(route, random)
    # The body is written once, because a client beside the service shares its cores.
    before, after = orjson.dumps(body).split(str(MARK).encode(), 1)
    for number in count():
        yield HttpRequest(path, b"%b%d%b" % (before, number, after))


def _numeric(route: str, random: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of requests that embed nothing, with a mark for a number."""
    points = f"/v1/collections/{COLLECTION}"
    some = _vectors(random, 256)
    half = {"n": {"$gte": POINTS // 2}, "not_there": {"$ne": MARK}}
    if route == "search":
        some[0][0] = MARK
        return f"{points}/search", {"vector": some[0], "filter": half}
    if route == "count":
        return f"{points}/points/count", {"filter": half}
    if route == "upsert":
        new = [{"id": f"{at}" if at else f"new {MARK}", "vector": some[at]} for at in range(100)]
        return f"{points}/points", {"points": new}
    if route == "cluster":
        return "/v1/cluster", {"inputs": some, "k": 32, "seed": MARK}
    some[0][0] = MARK
    return "/v1/similarity", {"a": some, "b": _vectors(random, 256)}


def _vectors(random: np.random.Generator, count: int) -> list[list[float]]:
    rows: list[list[float]] = random.normal(size=(count, WIDTH)).round(4).tolist()
    return rows

"""What an overload asks for: a route, its requests, and what must be there before.

All texts and ids are distinct, so no cache has an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import numpy as np

from benchmarks.texts import sample

COLLECTION = "overload"
WIDTH = 384
POINTS = 20_000
"""Points that are searched and counted."""

ROUTES = ("embed", "search", "upsert", "count", "cluster", "similarity")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    body: dict[str, Any]


def embedded(texts: list[str]) -> Asked:
    """Return the request for the vectors of texts."""
    return Asked("/v1/embeddings", {"input": texts, "encoding_format": "base64"})


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


def requests(route: str, seed: int, size: int) -> Iterator[Asked]:
    """Yield requests without an end; ``size`` texts are in each of those for vectors."""
    if route == "embed":
        for block in range(seed * 1000, (seed + 1) * 1000):
            texts = [f"{text} {block}" for text in sample(1000, seed=block)]
            for start in range(0, len(texts) - size + 1, size):
                yield embedded(texts[start : start + size])
        return
    random = np.random.default_rng(seed)
    some = _vectors(random, 256)
    for number in count():
        yield _numeric(route, number, some, random)


def _numeric(
    route: str, number: int, some: list[list[float]], random: np.random.Generator
) -> Asked:
    """Return a request that embeds nothing."""
    points = f"/v1/collections/{COLLECTION}"
    if route == "search":
        return Asked(f"{points}/search", {"vector": _vectors(random, 1)[0], "top_k": 10})
    if route == "count":
        return Asked(f"{points}/points/count", {"filter": {"n": {"$gte": number % POINTS}}})
    if route == "upsert":
        new = [{"id": f"{number}-{at}", "vector": some[at]} for at in range(10)]
        return Asked(f"{points}/points", {"points": new})
    if route == "cluster":
        return Asked("/v1/cluster", {"inputs": some, "k": 32, "seed": number})
    return Asked("/v1/similarity", {"a": some, "b": _vectors(random, 16)})


def _vectors(random: np.random.Generator, count: int) -> list[list[float]]:
    rows: list[list[float]] = random.normal(size=(count, WIDTH)).round(4).tolist()
    return rows

"""Vectors as they come from a contender, and how near they are to exact ones."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import orjson

from benchmarks.bench.client import MODEL
from benchmarks.bench.lines import NotMeasured
from benchmarks.bench.results import Cosine
from benchmarks.reference import cosines
from embedder.core.types import Vectors

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""All servers are on this machine: a proxy for the world outside has no part in it."""

PART = 32
TIMEOUT_S = 120.0


def over_http(url: str, texts: list[str]) -> Vectors:
    """Return float32[n, width] of a server that speaks as OpenAI does.

    Raises:
        NotMeasured: it did not answer with vectors.
    """
    parts = [_ask(url, texts[at : at + PART]) for at in range(0, len(texts), PART)]
    return np.concatenate(parts)


def of_answer(body: bytes) -> Vectors:
    """Return the rows of an answer, whether they are base64 or lists of numbers."""
    rows = sorted(orjson.loads(body)["data"], key=lambda row: int(row["index"]))
    return np.stack([_row(row["embedding"]) for row in rows])


def of_base64(text: str) -> Vectors:
    """Return the little-endian float32 that the text stands for."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def nearness(found: Vectors, exact: Vectors) -> Cosine:
    """Compare each vector with the exact one of the same text."""
    near = cosines(found, exact)
    return Cosine(float(near.min()), float(near.mean()))


def _ask(url: str, texts: list[str]) -> Vectors:
    body = orjson.dumps({"model": MODEL, "input": texts, "encoding_format": "base64"})
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with DIRECT.open(request, timeout=TIMEOUT_S) as answer:
            return of_answer(answer.read())
    except (urllib.error.URLError, OSError, KeyError, ValueError) as error:
        raise NotMeasured(f"no vectors: {error}") from error


def _row(embedding: Any) -> Vectors:
    return of_base64(embedding) if isinstance(embedding, str) else np.array(embedding, np.float32)

"""Reads the answers of the service: JSON to numpy arrays and results."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from embedder_client.errors import InvalidAnswer
from embedder_client.results import (
    Chunk,
    ChunkEmbeddings,
    Hit,
    Hits,
    OutputRows,
    Point,
    RankedText,
    SparseVector,
    Vectors,
)

ResultT = TypeVar("ResultT")


def _checked(read: Callable[[Any], ResultT]) -> Callable[[Any], ResultT]:
    """Make a reader raise `InvalidAnswer` where the answer has another form."""

    @wraps(read)
    def reading(answer: Any) -> ResultT:
        try:
            return read(answer)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise InvalidAnswer(
                f"the answer is not that of an embedding service ({problem})"
            ) from error

    return reading


def vector(value: str | Sequence[float]) -> Vectors:
    """Return float32[width] of numbers, or of little-endian float32 in base64."""
    if not isinstance(value, str):
        return np.asarray(value, np.float32)
    try:
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    except binascii.Error as error:
        raise InvalidAnswer(f"a vector is not base64: {error}") from None


def base64_of(row: Vectors) -> str:
    """Return a vector as little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode("ascii")


@_checked
def vectors(answer: Any) -> tuple[Vectors, int]:
    """Return float32[n, width] in the order of the inputs, and the number of their tokens."""
    rows = sorted(answer["data"], key=lambda row: row["index"])
    return np.stack([vector(row["embedding"]) for row in rows]), _tokens(answer)


@_checked
def outputs(answer: Any) -> OutputRows:
    """Return the kinds of results that the rows of an answer have."""
    rows = answer["data"]
    first = rows[0]
    return OutputRows(
        np.stack([vector(row["embedding"]) for row in rows]) if "embedding" in first else None,
        [_sparse(row["sparse_embedding"]) for row in rows] if "sparse_embedding" in first else None,
        [_matrix(row["multi_vector"]) for row in rows] if "multi_vector" in first else None,
    )


@_checked
def chunk_embeddings(answer: Any) -> list[ChunkEmbeddings]:
    """Return the chunks of every text, in the order of the texts."""
    found = []
    for _, rows in groupby(answer["data"], key=lambda row: row["chunk"]["input"]):
        parts = list(rows)
        places = [row["chunk"] for row in parts]
        found.append(
            ChunkEmbeddings(
                [Chunk(at["start"], at["end"], at["tokens"]) for at in places],
                np.stack([vector(row["embedding"]) for row in parts]),
            )
        )
    return found


@_checked
def ranked(answer: Any) -> list[RankedText]:
    """Return the ranking of texts, the best first."""
    return [RankedText(row["index"], row["score"]) for row in answer]


@_checked
def classes(answer: Any) -> list[dict[str, float]]:
    """Return the score of each label for every input, the best label first."""
    return [{one["label"]: one["score"] for one in row} for row in answer]


@_checked
def token_ids(answer: Any) -> list[list[int]]:
    """Return the token ids of every text."""
    return [[token["id"] for token in row] for row in answer]


@_checked
def matrix(answer: Any) -> Vectors:
    """Return float32[n, m] of an answer with similarities."""
    return np.asarray(answer["similarity"], np.float32)


@_checked
def hits(answer: Any) -> Hits:
    """Return the hits of one query."""
    return Hits([_hit(row) for row in answer["results"]], bool(answer.get("partial")))


@_checked
def many_hits(answer: Any) -> list[Hits]:
    """Return the hits of each of several queries."""
    partial = bool(answer.get("partial"))
    return [Hits([_hit(row) for row in rows], partial) for rows in answer["results"]]


@_checked
def points(answer: Any) -> list[Point]:
    """Return the points of an answer."""
    return [
        Point(
            row["id"],
            row.get("text"),
            None if row.get("vector") is None else vector(row["vector"]),
            row.get("metadata") or {},
        )
        for row in answer["points"]
    ]


def _hit(row: Mapping[str, Any]) -> Hit:
    found = row.get("vector")
    return Hit(
        row["id"],
        row["score"],
        row.get("text"),
        row.get("metadata"),
        None if found is None else vector(found),
        row.get("scores"),
    )


def _sparse(value: Mapping[str, Any]) -> SparseVector:
    return SparseVector(
        np.asarray(value["indices"], np.int32), np.asarray(value["values"], np.float32)
    )


def _matrix(rows: Sequence[str | Sequence[float]]) -> Vectors:
    return np.stack([vector(row) for row in rows]) if rows else np.zeros((0, 0), np.float32)


def _tokens(answer: Any) -> int:
    usage = answer.get("usage") or {}
    return int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)

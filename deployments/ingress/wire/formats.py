"""Writes vectors in the format that a client accepts: JSON, base64 or bytes.

No component is converted to a Python object.
"""

from __future__ import annotations

import base64
import io
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from embedder.core.request import Embeddings, Outputs, Scores

EncodingFormat = Literal["float", "base64"]


class Format(str, Enum):
    """The media types that a client may accept."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    NPY = "application/x-npy"
    BYTES = "application/octet-stream"


def negotiate(accept: bytes) -> Format:
    """Return the preferred format of an ``Accept`` header; JSON if it names no other."""
    best, best_quality = Format.JSON, 0.0
    if accept in _USUAL:
        return best
    for choice in accept.decode("latin-1").split(","):
        kind, _, parameters = choice.partition(";")
        quality = _quality(parameters)
        if quality > best_quality and kind.strip().lower() in _KNOWN:
            best, best_quality = Format(kind.strip().lower()), quality
    return best


def rows_of(vectors: NDArray[Any], encoding_format: EncodingFormat) -> list[Any]:
    """Return the JSON value of each row: the array itself, or base64 of its bytes."""
    if encoding_format == "float":
        return list(vectors)
    return [base64.b64encode(row).decode("ascii") for row in _little_endian(vectors)]


def binary_response(vectors: NDArray[Any], kind: Format) -> Response:
    """Return the vectors as little-endian bytes, row by row, or as an npy file."""
    array = _little_endian(vectors)
    headers = {
        "x-embedding-shape": ",".join(map(str, array.shape)),
        "x-embedding-dtype": array.dtype.name,
    }
    if kind is Format.NPY:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        body = file.getvalue()
    else:
        body = array.tobytes()
    return Response(body, media_type=kind.value, headers=headers)


def timing_headers(answer: Embeddings | Scores | Outputs) -> list[tuple[bytes, bytes]]:
    """Return headers with the duration of each stage in milliseconds, and the cache hits.

    ``server-timing`` has the durations with fractions. Add them to the ``raw_headers`` of a
    response: its ``headers`` would look through all of them for each one.
    """
    timings = answer.timings
    queue_ms = timings.queue_s * 1000
    tokenization_ms = timings.tokenization_s * 1000
    inference_ms = timings.inference_s * 1000
    headers = [
        (b"x-queue-time", b"%d" % round(queue_ms)),
        (b"x-tokenization-time", b"%d" % round(tokenization_ms)),
        (b"x-inference-time", b"%d" % round(inference_ms)),
        (
            b"server-timing",
            b"queue;dur=%.2f, tokenization;dur=%.2f, inference;dur=%.2f"
            % (queue_ms, tokenization_ms, inference_ms),
        ),
        (b"x-cache-hits", b"%d" % answer.cached),
    ]
    if truncated := np.count_nonzero(answer.truncated):
        headers.append((b"x-truncated-inputs", b"%d" % truncated))
    return headers


_KNOWN = frozenset(kind.value for kind in Format)
_USUAL = (b"", b"*/*", b"application/json")


def _quality(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _little_endian(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(vectors, vectors.dtype.newbyteorder("<"))

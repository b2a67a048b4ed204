"""Vectors are the same in every format, which the Accept header selects."""

from __future__ import annotations

import base64
import io

import numpy as np
import orjson
import pytest

from deployments.ingress.wire.formats import (
    Format,
    binary_response,
    negotiate,
    rows_of,
    timing_headers,
)
from embedder.core.request import Embeddings
from embedder.core.types import Timings

VECTORS = np.array([[0.5, -2.0], [1e-30, 3.0]], np.float32)
dtypes = pytest.mark.parametrize("dtype", ["<f4", "<f2", "i1", "u1", ">f4"])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("text/html,application/xhtml+xml", Format.JSON),
        ("application/json", Format.JSON),
        ("application/x-ndjson", Format.NDJSON),
        ("Application/X-NPY; charset=x", Format.NPY),
        ("application/octet-stream;q=0.5, application/x-npy;q=0.9", Format.NPY),
        ("application/json, application/octet-stream;q=0.9", Format.JSON),
        ("application/octet-stream;q=0", Format.JSON),
        ("application/octet-stream;q=many", Format.JSON),
        ("application/octet-stream, */*;q=0.1", Format.BYTES),
    ],
)
def test_the_preferred_format_is_chosen(accept: str, expected: Format) -> None:
    assert negotiate(accept.encode()) is expected


@dtypes
def test_base64_and_raw_bytes_are_little_endian(dtype: str) -> None:
    vectors = np.array([[1, 2], [3, 4]], dtype)
    little = vectors.astype(vectors.dtype.newbyteorder("<"))
    response = binary_response(vectors, Format.BYTES)

    assert [base64.b64decode(row) for row in rows_of(vectors, "base64")] == [
        row.tobytes() for row in little
    ]
    assert response.body == little.tobytes()
    assert response.headers["x-embedding-shape"] == "2,2"
    assert response.headers["x-embedding-dtype"] == little.dtype.name


@dtypes
def test_an_npy_answer_is_what_numpy_reads(dtype: str) -> None:
    vectors = np.array([[1, 2], [3, 4]], dtype)
    body = binary_response(vectors, Format.NPY).body

    np.testing.assert_array_equal(np.load(io.BytesIO(body)), vectors)


def test_numbers_in_json_read_back_to_the_bit() -> None:
    written = orjson.dumps(rows_of(VECTORS, "float"), option=orjson.OPT_SERIALIZE_NUMPY)

    np.testing.assert_array_equal(np.array(orjson.loads(written), np.float32), VECTORS)


def test_headers_have_durations_cache_hits_and_truncated_inputs() -> None:
    answer = Embeddings(
        VECTORS,
        np.array([3, 4], np.int32),
        np.array([True, False]),
        cached=1,
        model="m",
        timings=Timings(tokenization_s=0.0012, queue_s=0.5, inference_s=0.0306),
    )

    assert dict(timing_headers(answer)) == {
        b"x-queue-time": b"500",
        b"x-tokenization-time": b"1",
        b"x-inference-time": b"31",
        b"x-cache-hits": b"1",
        b"x-truncated-inputs": b"1",
        b"server-timing": b"queue;dur=500.00, tokenization;dur=1.20, inference;dur=30.60",
    }

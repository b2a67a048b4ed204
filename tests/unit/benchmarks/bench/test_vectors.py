"""Vectors are read as servers send them, in either encoding, and compared row by row."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from benchmarks.bench.vectors import nearness, of_answer

VECTORS = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_rows_come_in_the_order_of_their_index(encoding: str) -> None:
    rows = [
        base64.b64encode(row.astype("<f4").tobytes()).decode()
        if encoding == "base64"
        else list(row)
        for row in VECTORS.astype(float if encoding == "float" else np.float32)
    ]
    data = [{"index": at, "embedding": rows[at]} for at in (1, 0)]

    found = of_answer(json.dumps({"data": data}).encode())

    assert found.dtype == np.float32
    assert found.tolist() == VECTORS.tolist()


def test_nearness_is_the_least_and_the_mean_cosine() -> None:
    found = np.array([[2.0, 0.0], [1.0, 1.0]], np.float32)

    cosine = nearness(found, VECTORS)

    assert cosine.least == pytest.approx(np.sqrt(0.5))
    assert cosine.mean == pytest.approx((1 + np.sqrt(0.5)) / 2)

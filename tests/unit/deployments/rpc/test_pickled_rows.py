"""Pickled rows are unpickled unchanged, a few at a time."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from deployments.rpc import cooperative_yield, pickled_rows
from deployments.rpc.pickled_rows import CHUNK_CHARACTERS, CHUNK_ROWS, PickledRows
from embedder.index.contract.points import Hit, Record
from tests.unit.deployments.concurrent_request import ConcurrentRequest


def _hits(count: int, text: str | None = None) -> list[Hit]:
    return [Hit(f"point {row}", row / 7, None, text, {"row": [row]}) for row in range(count)]


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 100])
async def test_rows_are_unpickled_unchanged(count: int) -> None:
    hits = _hits(count, "text")
    sent: PickledRows[Hit] = pickle.loads(pickle.dumps(PickledRows.of(Hit, hits)))

    assert len(sent) == count
    assert list(sent) == list(sent) == hits
    assert await sent.unpickled() == hits


def test_a_record_keeps_its_vector() -> None:
    (record,) = PickledRows.of(Record, [Record("a", None, {}, np.arange(3, dtype=np.float32))])

    assert record.vector is not None
    assert record.vector.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "max_bytes"), [(None, CHUNK_ROWS), ("x" * CHUNK_CHARACTERS, 1), ("x" * 30_000, 3)]
)
def test_a_chunk_is_bounded_in_rows_and_in_characters(text: str | None, max_bytes: int) -> None:
    rows = [len(pickle.loads(chunk)) for chunk in PickledRows.of(Hit, _hits(50, text)).chunks]

    assert max(rows) == max_bytes
    assert sum(rows) == 50


async def test_other_requests_run_while_rows_are_unpickled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cooperative_yield, "YIELD_BYTES", 1000)
    sent, other = PickledRows.of(Hit, _hits(1000)), ConcurrentRequest()

    class Watched:
        @staticmethod
        def loads(chunk: bytes) -> Any:
            other.record_work(len(chunk))
            return pickle.loads(chunk)

    monkeypatch.setattr(pickled_rows, "pickle", Watched)
    async with other.running():
        await sent.unpickled()

    assert other.total > 20_000
    assert other.max_bytes <= 1000 + max(map(len, sent.chunks))

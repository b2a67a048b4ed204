"""Packed rows come out as they went in, a few at a time."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from deployments.rpc import packed, turns
from deployments.rpc.packed import RUN_CHARACTERS, RUN_ROWS, Packed
from embedder.index.contract.points import Hit, Record
from tests.unit.deployments.neighbour import Neighbour


def _hits(count: int, text: str | None = None) -> list[Hit]:
    return [Hit(f"point {row}", row / 7, None, text, {"row": [row]}) for row in range(count)]


@pytest.mark.parametrize("count", [0, 1, RUN_ROWS, RUN_ROWS + 1, 100])
async def test_rows_come_out_as_they_went_in(count: int) -> None:
    hits = _hits(count, "text")
    sent: Packed[Hit] = pickle.loads(pickle.dumps(Packed.of(Hit, hits)))

    assert len(sent) == count
    assert list(sent) == list(sent) == hits
    assert await sent.unpacked() == hits


def test_a_record_keeps_its_vector() -> None:
    (record,) = Packed.of(Record, [Record("a", None, {}, np.arange(3, dtype=np.float32))])

    assert record.vector is not None
    assert record.vector.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "most"), [(None, RUN_ROWS), ("x" * RUN_CHARACTERS, 1), ("x" * 30_000, 3)]
)
def test_a_run_is_bounded_in_rows_and_in_characters(text: str | None, most: int) -> None:
    rows = [len(pickle.loads(run)) for run in Packed.of(Hit, _hits(50, text)).runs]

    assert max(rows) == most
    assert sum(rows) == 50


async def test_others_have_their_turn_while_rows_are_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_BYTES", 1000)
    sent, neighbour = Packed.of(Hit, _hits(1000)), Neighbour()

    class Watched:
        @staticmethod
        def loads(run: bytes) -> Any:
            neighbour.sees(len(run))
            return pickle.loads(run)

    monkeypatch.setattr(packed, "pickle", Watched)
    async with neighbour.waiting():
        await sent.unpacked()

    assert neighbour.total > 20_000
    assert neighbour.most <= 1000 + max(map(len, sent.runs))

"""A process that hangs in the middle of a write does not stop the writes of the others."""

from __future__ import annotations

import threading

import pytest

from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.postgres.points import named
from tests.unit.waiting import LONG_S

pytest.importorskip("psycopg", reason="psycopg is not installed")

from embedder.index.storage.postgres.writing import committer, writing_session
from tests.unit.index.storage.postgres.open_store import opened, put, stored


def test_the_lock_of_a_hanging_process_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "PATIENCE_S", LONG_S)
    monkeypatch.setattr(writing_session, "IDLE_MS", 200)
    inside, go = threading.Event(), threading.Event()

    def write(rows: Transaction) -> Effect[int]:
        row = rows.find_collection("c")
        assert row is not None
        inside.set()
        assert go.wait(LONG_S)
        sequence = rows.upsert(row, encode(named("late")))[1].sequence
        return lambda: sequence

    with opened(url) as hanging, opened(url, creating=False) as other:
        late = hanging.submit(write)
        assert inside.wait(LONG_S)
        assert put(other, "a").result(LONG_S) == 1
        go.set()

        assert late.result(LONG_S) == 2, "repeated, because its transaction was ended"
        assert stored(other) == (["a", "late"], 2)

"""A write is stored exactly once, whenever its connection is lost, and the store recovers alone."""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
from typing import Any
from urllib.parse import quote

import pytest

from embedder.core.errors import StageUnavailable
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.postgres.points import named
from tests.unit.index.storage.postgres.postgres_server import PASSWORD, PostgresServer
from tests.unit.waiting import LONG_S, eventually

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from embedder.index.storage.postgres.writing import committer, writing_session
from tests.unit.index.storage.postgres.open_store import end_sessions, opened, put, stored


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on the speed of the machine."""
    monkeypatch.setattr(committer, "PATIENCE_S", LONG_S)


def test_lost_idle_connections_are_replaced(url: str) -> None:
    with opened(url) as store:
        assert put(store, "a").result(LONG_S) == 1
        assert stored(store) == (["a"], 1)
        end_sessions(url)

        assert stored(store) == (["a"], 1)
        assert put(store, "b").result(LONG_S) == 2
        end_sessions(url)
        assert len(store.reader.pairs(1)) == 2
        assert [row.count for row in store.log.heads(["c"])[1]] == [2]


def test_a_write_that_loses_its_connection_is_repeated(url: str) -> None:
    calls = 0

    def write(rows: Transaction) -> Effect[int]:
        nonlocal calls
        calls += 1
        row = rows.find_collection("c")
        assert row is not None
        if calls == 1:
            end_sessions(url)
        sequence = rows.upsert(row, encode(named("a")))[1].sequence
        return lambda: sequence

    with opened(url) as store:
        assert store.submit(write).result(LONG_S) == 1
        assert stored(store) == (["a"], 1)
    assert calls == 2


@pytest.mark.parametrize("is_committed", [True, False])
def test_the_outcome_of_a_lost_commit_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        lost = _lose_commit(monkeypatch, is_committed=is_committed)
        sequences = [put(store, name).result(LONG_S) for name in "bcd"]

        assert lost.is_set()
        assert sequences == [2, 3, 4]
        assert stored(store) == (["a", "b", "c", "d"], 4)


def test_a_lost_commit_that_still_runs_is_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that holds the row of the writer stands for the lost one."""
    with opened(url) as store, psycopg.connect(url) as other:
        put(store, "a").result(LONG_S)
        lost = _lose_commit(monkeypatch, is_committed=False)
        other.execute("UPDATE embedder.writers SET commits = commits + 1")
        written = put(store, "b")
        assert lost.wait(LONG_S)
        other.commit()

        assert written.result(LONG_S) == 2, "the effect of the write that seems to be committed"
        assert stored(store) == (["a"], 1)


def test_a_lost_commit_that_a_hanging_session_has_not_read_yet_is_not_applied_twice(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging: list[int] = []
    execute: Any = LimitedConnection.execute

    def hang(db: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        if query == writing_session._COUNT and not hanging:
            hanging.append(db.info.backend_pid)
            os.kill(hanging[0], signal.SIGSTOP)
        return execute(db, query, *arguments, **named)

    with opened(url) as store, psycopg.connect(url, autocommit=True) as other:
        put(store, "a").result(LONG_S)
        monkeypatch.setattr(LimitedConnection, "execute", hang)
        monkeypatch.setattr(LimitedConnection, "statement_s", 0.3)
        written = put(store, "b")
        try:
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            assert eventually(lambda: other.execute(waiting).fetchall() != [])
        finally:
            os.kill(hanging[0], signal.SIGCONT)

        assert written.result(LONG_S) == 2
        assert stored(store) == (["a", "b"], 2)


def test_an_unknown_outcome_is_not_repeated(
    url: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "PATIENCE_S", 0.2)
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        _lose_commit(monkeypatch, is_committed=True, then=server.stop)
        try:
            with pytest.raises(StageUnavailable) as raised:
                put(store, "b").result(LONG_S)
            assert "unknown whether a write is committed" in raised.value.reason
        finally:
            server.start()

        assert put(store, "c").result(LONG_S) == 3
        assert stored(store) == (["a", "b", "c"], 3)


def test_a_write_that_is_lost_after_an_unknown_outcome_is_not_acknowledged_for_it(
    url: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        with monkeypatch.context() as patch:
            patch.setattr(committer, "PATIENCE_S", 0.2)
            _lose_commit(patch, is_committed=True, then=server.stop)
            try:
                with pytest.raises(StageUnavailable):
                    put(store, "b").result(LONG_S)
            finally:
                server.start()
        lost = _lose_commit(monkeypatch, is_committed=False)

        assert put(store, "c").result(LONG_S) == 3
        assert lost.is_set()
        assert stored(store) == (["a", "b", "c"], 3)


def test_writes_and_reads_are_refused_while_the_server_is_down(
    url: str,
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(committer, "PATIENCE_S", 0.2)
    caplog.set_level(logging.DEBUG)
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        shown = [repr(store)]
        server.stop()
        try:
            for written in [put(store, "b"), put(store, "c")]:
                with pytest.raises(StageUnavailable) as raised:
                    written.result(LONG_S)
                shown.append("".join(traceback.format_exception(raised.value)))
            with pytest.raises(StageUnavailable):
                stored(store)
            assert store.refusal is None
        finally:
            server.start()

        assert stored(store) == (["a"], 1)
        assert put(store, "d").result(LONG_S) == 2
    shown.append(caplog.text)
    assert not [
        text for text in shown for one in (PASSWORD, quote(PASSWORD, safe="")) if one in text
    ]


def test_writes_wait_for_a_server_that_restarts(url: str, server: PostgresServer) -> None:
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        server.stop()
        try:
            written = put(store, "b")
        finally:
            server.start()

        assert written.result(LONG_S) == 2


def _lose_commit(
    monkeypatch: pytest.MonkeyPatch, *, is_committed: bool, then: Any = None
) -> threading.Event:
    """Lose the connection at the next COMMIT, before or after the server has executed it."""
    lost = threading.Event()
    execute: Any = LimitedConnection.execute

    def losing(db: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        if query != "COMMIT" or lost.is_set():
            return execute(db, query, *arguments, **named)
        if is_committed:
            execute(db, query)
            with db.pipeline():  # its end waits for the answer
                pass
        if then is not None:
            then()
        db.close()
        lost.set()
        raise psycopg.OperationalError("lost")

    monkeypatch.setattr(LimitedConnection, "execute", losing)
    return lost

"""A statement ends when its caller is cancelled or it lasts too long, even if the server hangs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from contextvars import copy_context

import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from tests.unit.waiting import LONG_S, eventually

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.connection import limited_connection
from embedder.index.storage.postgres.connection.connecting import connect
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

ENDLESS = "SELECT pg_sleep(600)"


@pytest.fixture
def db(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedConnection]:
    monkeypatch.setattr(limited_connection, "STOP_S", LONG_S)
    with closing(connect(url, writable=True)) as db:
        yield db


def test_a_statement_that_lasts_too_long_is_stopped(db: LimitedConnection) -> None:
    db.statement_s = 0.1
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute(ENDLESS)
    db.statement_s = LONG_S

    assert db.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_statement_whose_caller_is_cancelled_is_stopped(
    db: LimitedConnection, url: str, in_pipeline: bool
) -> None:
    cancellation, context = Cancellation(), copy_context()
    context.run(cancellation.enter)
    raised: list[Exception] = []

    def work() -> None:
        try:
            if in_pipeline:
                with db.pipeline():
                    db.execute(ENDLESS).fetchall()
            else:
                db.execute(ENDLESS)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=context.run, args=(work,))
    thread.start()
    with psycopg.connect(url, autocommit=True) as other:
        assert eventually(lambda: _runs(other, db))
    cancellation.request()
    thread.join(LONG_S)

    assert [type(one) for one in raised] == [Cancelled]
    assert db.execute("SELECT 1").fetchall() == [(1,)]


def test_a_connection_whose_server_hangs_is_closed(
    db: LimitedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "STOP_S", 0.1)
    db.statement_s = 0.1
    server_process = db.info.backend_pid
    os.kill(server_process, signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.OperationalError, match="does not end a statement"):
            db.execute("SELECT 1")
    finally:
        os.kill(server_process, signal.SIGCONT)

    assert db.closed


def test_a_commit_is_not_stopped(db: LimitedConnection, url: str) -> None:
    """It may wait for a standby: a stopped one counts as committed, although no standby has it."""
    cancellation, context = Cancellation(), copy_context()
    context.run(cancellation.enter)
    cancellation.request()
    db.is_committing = True

    assert context.run(db.execute, "SELECT pg_sleep(0.2)").rowcount == 1


def _runs(other: psycopg.Connection, db: LimitedConnection) -> bool:
    query = "SELECT state = 'active' AND query = %s FROM pg_stat_activity WHERE pid = %s"
    return bool(other.execute(query, (ENDLESS, db.info.backend_pid)).fetchall()[0][0])

"""A start that cannot succeed says why in one sentence; the password appears nowhere."""

from __future__ import annotations

import logging
import traceback
from contextlib import closing
from urllib.parse import quote

import pytest

from embedder.core.errors import ConfigurationError, EmbedderError, StageUnavailable
from embedder.core.storage_errors import StorageReadOnly
from tests.unit.index.storage.postgres.postgres_server import PASSWORD, PostgresServer

pytest.importorskip("psycopg", reason="psycopg is not installed")

from embedder.index.storage.postgres.connection import connecting
from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.schema import prepare

SECRETS = (PASSWORD, quote(PASSWORD, safe=""), "hunter2")


def fail(url: str, caplog: pytest.LogCaptureFixture, *, writable: bool = True) -> EmbedderError:
    """Return the error of an attempt to connect, in which no secret appears."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(EmbedderError) as raised:
        connect(url, writable=writable)
    error = raised.value
    shown = ["".join(traceback.format_exception(error)), repr(error.args), caplog.text]
    assert not [secret for secret in SECRETS for text in shown if secret in text]
    return error


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:hunter2@db.example.org/docs", "'docs' at db.example.org"),
        ("postgresql://me:hunter2@a:1,b:2/docs", "'docs' at a:1, b:2"),
        ("postgresql://me:hunter2@a,b:5433/docs", "'docs' at a, b:5433"),
        ("postgresql:///docs?host=/run/x&password=hunter2", "'docs' at /run/x"),
        ("postgresql://", "'of the user' at localhost"),
    ],
)
def test_a_location_names_hosts_and_database(url: str, expected: str) -> None:
    assert location_of(url) == f"PostgreSQL database {expected}"


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:hunter2@[::1/docs", "hunter2", "postgresql://a/b?hunter2=1", "mysql://x"],
)
def test_a_wrong_url_is_not_repeated(url: str, caplog: pytest.LogCaptureFixture) -> None:
    error = fail(url, caplog)

    assert isinstance(error, ConfigurationError)
    assert str(error).startswith("index.url is not a URL of PostgreSQL: write postgresql://")


def test_a_server_that_is_down_is_unavailable(
    url: str, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    try:
        error = fail(url, caplog)
    finally:
        server.start()

    assert isinstance(error, StageUnavailable)
    assert str(error) == "the database of the index is not available"
    assert "No such file or directory" in error.reason or "refused" in error.reason


def test_a_host_that_is_down_is_passed_over(url: str) -> None:
    several = url.replace("?host=", "?host=%2Fnowhere,")

    with closing(connect(several, writable=True)) as db:
        assert db.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize(("role", "password"), [("tests", "hunter2"), ("nobody", PASSWORD)])
def test_a_wrong_login_is_refused(
    server: PostgresServer, caplog: pytest.LogCaptureFixture, role: str, password: str
) -> None:
    error = fail(server.url("postgres", role=role, password=password), caplog)

    assert isinstance(error, ConfigurationError)
    assert "'postgres' at /" in str(error)
    assert "refuses the login: check the user and the password of index.url" in str(error)


def test_a_missing_password_is_refused(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url("postgres").replace(f":{quote(PASSWORD, safe='')}", "")

    assert "refuses the login" in str(fail(url, caplog))


def test_the_password_may_come_from_the_environment(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    connect(server.url("postgres").replace(quote(PASSWORD, safe=""), ""), writable=True).close()


def test_a_missing_database_is_refused(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    error = fail(server.url("absent"), caplog)

    assert isinstance(error, ConfigurationError)
    assert "'absent'" in str(error)
    assert "does not exist: create it with ENCODING 'UTF8'" in str(error)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused(
    server: PostgresServer, caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    url = server.create_database(f"ENCODING '{encoding}' LOCALE 'C'")

    assert f"has the encoding {encoding}; the index needs" in str(fail(url, caplog))


def test_an_old_version_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connecting, "MIN_VERSION", 99)

    assert "the index needs 99 or a later one" in str(fail(url, caplog))


def test_missing_privileges_are_refused(server: PostgresServer, url: str) -> None:
    from embedder.index.storage.postgres.connection.error_codes import translate_database_errors

    with closing(connect(url, writable=True)) as db:
        db.execute("DROP ROLE IF EXISTS guest")
        db.execute("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
    guest = server.url(url.rpartition("/")[2].partition("?")[0], role="guest", password="hunter2")
    with (
        closing(connect(guest, writable=True)) as db,
        pytest.raises(ConfigurationError, match=r"refuses the user of index\.url a privilege"),
        translate_database_errors(location_of(guest)),
    ):
        prepare(db, location_of(guest), 1)


def test_a_database_that_only_reads_takes_readers_alone(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(connect(url, writable=True)) as db:
        name = db.info.dbname
        db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    assert isinstance(fail(url, caplog), StorageReadOnly)
    with closing(connect(url, writable=False)) as db:
        assert db.execute("SELECT 1").fetchall() == [(1,)]


def test_commits_wait_for_the_disk(url: str) -> None:
    with closing(connect(url, writable=True)) as db:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET synchronous_commit = off")

    with closing(connect(url, writable=True)) as db:
        assert db.execute("SHOW synchronous_commit").fetchall() == [("on",)]


def test_a_writer_passes_over_a_standby_until_it_is_promoted(
    server: PostgresServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    standby = server.make_standby()
    standby.start()
    try:
        hosts = f"?host={quote(f'{standby.folder},{server.folder}', safe='')}"
        both = url.partition("?")[0] + hosts
        of_standby = standby.url(url.rpartition("/")[2].partition("?")[0])
        with closing(connect(both, writable=True)) as db:
            assert db.info.host == str(server.folder)
        with closing(connect(both, writable=False)) as db:
            assert db.info.host == str(standby.folder)
        assert isinstance(fail(of_standby, caplog), StorageReadOnly)
        standby.promote()
        connect(of_standby, writable=True).close()
    finally:
        standby.stop()

"""What is wrong with the index's database is said before Ray starts, in one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from deployments.cli import main
from deployments.launch.database.checking import check_index_database
from deployments.launch.preflight import check
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from tests.unit.deployments.launch.test_preflight import document
from tests.unit.index.storage.postgres.postgres_server import (
    PASSWORD,
    PostgresServer,
    running_server,
)

WRONG = "not the password"
DOWN = "postgresql://someone:horse@127.0.0.1:1/points"


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    """Return a running server."""
    return running_server()


def _arguments(url: str, folder: Path | None, shards: int = 1) -> dict[str, Any]:
    directory = None if folder is None else str(folder)
    return {"data_directory": directory, "index": {"url": url, "shards": shards}}


def _check(url: str, folder: Path | None = None, shards: int = 1) -> None:
    check_index_database(ServeSettings.model_validate(_arguments(url, folder, shards)))


def _run(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute(statement)


def _login(server: PostgresServer, url: str, role: str) -> str:
    """Return the URL of the same database for a new role, which may only connect."""
    database = url.rpartition("@/")[2].partition("?")[0]
    _run(url, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    return server.url(database, role=role, password="x")


def test_a_good_database_is_ready_for_the_service(server: PostgresServer, tmp_path: Path) -> None:
    url = server.create_database()
    for _ in range(2):
        _check(url, tmp_path)

    assert (tmp_path / "index" / "DATABASE").read_text().strip()
    _check(url, None)


def test_an_index_in_files_has_none() -> None:
    check_index_database(ServeSettings(data_directory=None))


def _wrong(server: PostgresServer) -> Iterator[tuple[str, str, int]]:
    """Yield a URL, what its refusal says, and a number of shards."""
    good = server.create_database()
    _check(good, shards=2)
    yield server.url("postgres", password=WRONG), "refuses the login: check the user", 1
    yield server.url("missing"), "'missing' at .* does not exist", 1
    yield good, "index of 2 shards, and index.shards is 1", 1
    yield server.create_database("ENCODING 'SQL_ASCII'"), "ENCODING 'UTF8'", 1
    foreign = server.create_database()
    _run(foreign, "CREATE SCHEMA embedder")
    yield foreign, "schema 'embedder' of another program", 1
    yield (
        _login(server, server.create_database(), "stranger_to_the_index"),
        "a privilege: the user needs",
        1,
    )
    reader = _login(server, good, "reader_of_the_index")
    _run(good, "GRANT USAGE ON SCHEMA embedder TO reader_of_the_index")
    _run(good, "GRANT SELECT ON ALL TABLES IN SCHEMA embedder TO reader_of_the_index")
    yield reader, "a privilege: the user needs", 2


def test_every_fault_of_a_database_is_one_sentence_without_the_password(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    for url, sentence, shards in _wrong(server):
        with pytest.raises(ConfigurationError, match=sentence) as caught:
            _check(url, shards=shards)
        text = str(caught.value)
        assert "\n" not in text
        for secret in (WRONG, PASSWORD, quote(PASSWORD, safe="")):
            assert secret not in text + caplog.text


def test_a_version_that_is_too_old_is_refused(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedder.index.storage.postgres.connection.connecting.MIN_VERSION", 99)

    with pytest.raises(ConfigurationError, match="needs 99 or a later one"):
        _check(server.create_database())


def test_another_database_than_at_the_first_start_is_refused(
    server: PostgresServer, tmp_path: Path
) -> None:
    """It would be an empty index, or that of another service with as many shards."""
    first, other = server.create_database(), server.create_database()
    _check(first, tmp_path)
    with pytest.raises(ConfigurationError, match=r"another database.*correct index\.url.*remove"):
        _check(other, tmp_path)
    _check(first, tmp_path)
    (tmp_path / "index" / "DATABASE").unlink()
    _check(other, tmp_path)


def test_a_database_that_is_down_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with caplog.at_level(logging.WARNING):
        check(document(_arguments(DOWN, tmp_path)))

    (record,) = [one for one in caplog.records if "database of the index" in one.message]
    assert "does not answer" in record.message
    assert "'points' at 127.0.0.1:1" in record.message
    assert "503" in record.message
    assert "horse" not in caplog.text
    assert not (tmp_path / "index" / "DATABASE").exists()


def test_embedder_serve_ends_with_the_sentence(
    server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    url = server.url("postgres", password=WRONG)
    path.write_text(yaml.safe_dump(document(_arguments(url, tmp_path / "data"))))

    assert main(["serve", str(path), "--plain"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("embedder: PostgreSQL database 'postgres' at ")
    assert printed.err.count("\n") == 1
    assert WRONG not in printed.err + printed.out


def test_a_missing_driver_of_the_snapshots_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    index = {"url": DOWN, "snapshots": "s3://bucket/folder"}
    with pytest.raises(ConfigurationError, match="pip install s3fs"):
        check_index_database(ServeSettings.model_validate({"index": index}))

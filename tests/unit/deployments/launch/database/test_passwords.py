"""No argument that Ray logs has the password of the database, and the service still logs in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.launch.database.passwords import hide_passwords
from embedder.core.private_files import OWNER_ONLY
from tests.unit.deployments.launch.test_preflight import document
from tests.unit.index.storage.postgres.postgres_server import PASSWORD, running_server

PASSWORDS = ["horse", "a:b", "back\\slash:", "ümlaut & ?/@#%"]


def _url(given: dict[str, Any]) -> str:
    url: str = given["applications"][0]["args"]["index"]["url"]
    return url


def test_the_service_logs_in_with_the_hidden_password(tmp_path: Path) -> None:
    url = running_server().create_database()
    import psycopg

    hidden = hide_passwords(document({"index": {"url": url, "shards": 2}}), tmp_path)

    assert "horse" not in yaml.safe_dump(hidden)
    assert hidden["applications"][0]["args"]["index"]["shards"] == 2
    psycopg.connect(_url(hidden)).close()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == OWNER_ONLY
    assert PASSWORD in file.read_text()


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_can_be_hidden(password: str, tmp_path: Path) -> None:
    server = running_server()
    import psycopg
    from psycopg import sql

    role = f"hidden_{PASSWORDS.index(password)}"
    database = server.create_database()
    with psycopg.connect(database, autocommit=True) as db:
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        db.execute(statement.format(sql.Identifier(role), sql.Literal(password)))
    url = server.url("postgres", role=role, password=password)

    psycopg.connect(_url(hide_passwords(document({"index": {"url": url}}), tmp_path))).close()


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        {"index": {"shards": 2}},
        {"index": {"url": "postgresql://user@one:1,two:2/points?sslmode=require"}},
        {"index": {"url": "postgresql:///points"}},
    ],
)
def test_a_configuration_without_a_password_stays_as_it_is(arguments: Any, tmp_path: Path) -> None:
    given = document(arguments)

    assert hide_passwords(given, tmp_path) == given
    assert list(tmp_path.iterdir()) == []


def test_the_arguments_stay_the_same_when_they_are_deployed_again(tmp_path: Path) -> None:
    """Also with another password: changed arguments would replace every replica."""
    urls = [f"postgresql://user:{password}@db/points" for password in ("horse", "horse", "cow")]
    given = [hide_passwords(document({"index": {"url": url}}), tmp_path) for url in urls]

    assert given[0] == given[1] == given[2]
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "*:*:*:*:cow\n"


def test_several_hosts_and_parameters_are_kept(tmp_path: Path) -> None:
    url = "postgres://user:horse@one:1,two:2/points?sslmode=require"
    hidden = _url(hide_passwords(document({"index": {"url": url}}), tmp_path))

    assert hidden.startswith("postgres://user@one:1,two:2/points?sslmode=require&passfile=%2F")

"""The commands and statements of docs/stores.md run, in their order, on an index and a database."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from deployments.cli import main
from deployments.settings.service import ServeSettings
from tests.readme import fenced
from tests.unit.deployments.operations.stopped_index import StoppedIndex
from tests.unit.index.storage.postgres.postgres_server import (
    PASSWORD,
    PostgresServer,
    running_server,
)

PAGE = (Path(__file__).parents[3] / "docs" / "stores.md").read_text()
URL = "postgresql://embedder@db.example"


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    """Return a running server with the role and the database of the page."""
    server = running_server()
    created, _ = fenced(PAGE, "sql")
    for statement in [*created.strip().splitlines(), "CREATE ROLE reader LOGIN"]:
        _run(server.url("postgres"), statement)
    for role in ("embedder", "reader"):
        _run(server.url("postgres"), f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    _run(server.url("postgres"), "CREATE DATABASE again OWNER embedder")
    return server


def _run(url: str, statements: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.pgconn.exec_(statements.encode())
        assert db.pgconn.error_message == b""


def _commands(server: PostgresServer, folder: Path) -> list[list[str]]:
    """Return the commands of the page, with the places of a test."""
    places = {
        f"{URL}/points": server.url("points", role="embedder"),
        f"{URL}/again": server.url("again", role="embedder"),
        "/backup/docs.parquet": str(folder / "docs.parquet"),
        "/backup/points.dump": str(folder / "points.dump"),
        "/backup/docs": str(folder / "backup"),
        "/srv/embedder": str(folder / "data"),
        "/srv/smaller": str(folder / "smaller"),
        "serve_config.yaml": str(folder / "serve_config.yaml"),
    }
    lines = re.findall(r"^\$ (.*)$", "".join(fenced(PAGE, "console")), re.MULTILINE)
    found = []
    for line in lines:
        for place, own in places.items():
            line = line.replace(place, own)
        found.append(shlex.split(line))
    return found


def test_every_command_runs_in_the_order_of_the_page(
    server: PostgresServer, tmp_path: Path
) -> None:
    StoppedIndex(tmp_path, 1)
    commands = _commands(server, tmp_path)
    for program, *arguments in commands:
        if program == "embedder":
            assert main(arguments) == 0, arguments
        else:
            environment = os.environ | {"PGPASSWORD": PASSWORD}
            subprocess.run([server.programs / program, *arguments], check=True, env=environment)
    _run(server.url("points"), fenced(PAGE, "sql")[1])
    assert main(["index", "check", server.url("points", role="reader")]) == 0
    copy = ["index", "copy", server.url("points", role="reader"), str(tmp_path / "third")]
    assert main(copy) == 0

    assert [program for program, *_ in commands].count("embedder") == 7


def test_the_settings_of_the_page_are_valid() -> None:
    (block,) = fenced(PAGE, "yaml")
    settings = ServeSettings.model_validate(yaml.safe_load(block))

    assert settings.index.url is not None
    assert settings.index.url.get_secret_value() == f"{URL}/points"

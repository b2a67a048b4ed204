"""The settings choose the store; what is missing for it is said in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from embedder.core.errors import MissingExtra
from embedder.index.storage.opening import open_store
from embedder.settings.model import IndexSettings
from tests.unit.index.storage.postgres.postgres_server import running_server

URL = "postgresql://me:secret@localhost/points"


def test_without_a_url_the_points_are_in_the_directory(tmp_path: Path) -> None:
    store = open_store(IndexSettings(directory=str(tmp_path)), tmp_path, 0, 1)

    assert store.log is None
    assert store.reader.location.startswith(str(tmp_path))
    store.close()


def test_with_a_url_the_points_are_in_the_database(tmp_path: Path) -> None:
    settings = IndexSettings(url=SecretStr(running_server().create_database()))
    store = open_store(settings, tmp_path, 1, 2)

    assert store.log is not None
    assert store.log.heads(None)[1] == []
    store.close()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"index\.url needs psycopg.*embedder\[postgres\]"):
        open_store(IndexSettings(url=SecretStr(URL)), tmp_path, 0, 1)


def test_the_url_must_be_one_of_postgresql() -> None:
    with pytest.raises(ValidationError, match="must begin with postgresql://"):
        IndexSettings(url=SecretStr("mysql://me:secret@localhost/points"))


def test_the_password_is_not_shown() -> None:
    settings = IndexSettings(url=SecretStr(URL))

    assert "secret" not in f"{settings!r} {settings} {settings.model_dump(mode='json')}"

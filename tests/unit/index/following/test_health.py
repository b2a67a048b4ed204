"""What an index reports while its database does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from embedder.core.errors import StageUnavailable
from embedder.index.contract.health import health_of
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.storage.postgres.postgres_server import running_server

DOWN = StageUnavailable("database of the index", "horse at 127.0.0.1")


def test_a_lost_database_is_told_from_damage() -> None:
    assert health_of(None, None, [], DOWN).status == "unavailable"
    assert health_of(DOWN, None, []).status == "unavailable"
    assert health_of(OSError(), None, [], DOWN).status == "failed"
    assert "horse" not in str(health_of(None, None, [], DOWN).problem)


def test_it_is_reported_from_the_first_read_that_fails_to_the_first_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = IndexSettings(url=SecretStr(running_server().create_database()))
    index = VectorIndex(settings, background=False)
    index.create("c")
    log: Any = index._shard.store.log

    def down(_: object) -> None:
        raise DOWN

    with monkeypatch.context() as patch:
        patch.setattr(log, "heads", down)
        with pytest.raises(StageUnavailable):
            index.describe("c")
        assert index.health().status == index.stats().status == "unavailable"
        assert index.describe("c", "stale").name == "c"
        assert index.health().status == "unavailable"
    index.describe("c")
    assert index.health().status == "ready"
    index.close()


def test_a_database_that_is_down_at_the_start_is_no_damage() -> None:
    running_server()  # skips without psycopg
    settings = IndexSettings(url=SecretStr("postgresql://someone:horse@127.0.0.1:1/points"))
    index = VectorIndex(settings, background=False)

    assert index.health().status == "unavailable"
    with pytest.raises(StageUnavailable):
        index.collections()
    index.close()

"""Where the log cannot tell what changed, a replica reads the collection again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from embedder.index.collection import log_pages
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.points import Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points

pytest.importorskip("psycopg", reason="psycopg is not installed")

from embedder.index.storage.postgres.writing import upkeep
from tests.unit.index.storage.postgres.open_database import OpenDatabase

Open = Callable[[], VectorIndex]


def _ids(index: VectorIndex) -> list[str]:
    query = Query("c", np.array([1, 0], np.float32), 9)
    return sorted(hit.id for hit in index.search([query])[0])


def test_deletions_that_the_log_has_forgotten_are_found_by_comparing(
    replica: Open, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0], "b": [0, 1]}))
    assert _ids(two) == ["a", "b"]
    one.delete_points("c", ["a"])
    one.upsert("c", points({"d": [1, 1]}))
    monkeypatch.setattr(upkeep, "KEPT_DELETIONS", 0)
    with closing(OpenDatabase(url, shards=1)) as database, database.transaction() as rows:
        upkeep.forget_deletions(rows)

    assert _ids(two) == ["b", "d"]
    two.upsert("c", points({"e": [1, 2]}))
    two.run_maintenance()
    assert _ids(one) == _ids(two) == ["b", "d", "e"]


def test_more_changes_than_are_applied_at_once_are_read_by_loading_again(
    replica: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = replica(), replica()
    one.upsert("c", points({"a": [1, 0], "b": [0, 1]}))
    assert _ids(two) == ["a", "b"]
    one.delete_points("c", ["a"])
    one.upsert("c", points({"d": [1, 1]}))
    loads: list[str] = []
    reload = OpenCollection.reload
    monkeypatch.setattr(log_pages, "MAX_PAGES", 0)

    def record(collection: OpenCollection) -> None:
        loads.append(collection.name)
        reload(collection)

    monkeypatch.setattr(OpenCollection, "reload", record)

    assert _ids(two) == ["b", "d"]
    assert loads == ["c"]


@pytest.mark.parametrize("is_before_a_filter", [False, True])
def test_writes_that_the_database_has_lost_are_not_found(
    replica: Open, url: str, is_before_a_filter: bool
) -> None:
    """As after a failover to a standby that lacked the last write."""
    index = replica()
    index.upsert("c", points({"a": [1, 0]}))
    index.upsert("c", points({"lost": [0, 1]}))
    with closing(OpenDatabase(url, shards=1)) as database:
        before = database.find()
        with database.transaction() as rows:
            (pk,) = rows.find_pks(before.id, ["lost"])
        database.delete([pk])
        database.renamed(replace(before, sequence=1, count=1), "c")

    if is_before_a_filter:
        assert [one.id for one in index.scroll("c").records] == ["a"]
    assert _ids(index) == ["a"]
    index.upsert("c", points({"b": [0, 1]}))
    assert _ids(index) == ["a", "b"]
    assert index.stats().status == "ready"

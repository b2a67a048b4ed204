"""Points are looked up by an index, also before PostgreSQL has counted the rows of a collection.

Its estimate is then that a collection has few points, and a scan of all of them looks cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from embedder.index.storage.postgres import reading, transaction
from tests.unit.index.storage.postgres.points import named

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

POINTS, CHOSEN = 3000, 100


@pytest.fixture
def without_statistics(database: OpenDatabase) -> OpenDatabase:
    """Return a database with a collection that autovacuum leaves alone."""
    for table in ("points", "vectors"):
        database.execute(f"ALTER TABLE embedder.{table} SET (autovacuum_enabled = off)")
    database.create()
    for start in range(0, POINTS, 500):
        database.put(named(*map(str, range(start, start + 500))))
    return database


def scans(database: OpenDatabase, query: str, parameters: Any) -> list[dict[str, Any]]:
    """Return the nodes of the plan that read a table, with the rows that each read and dropped."""
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"
    ((plan,),) = database.db.execute(explain, parameters).fetchall()
    nodes, found = [plan[0]["Plan"]], []
    while nodes:
        node = nodes.pop()
        nodes.extend(node.get("Plans", []))
        if "Relation Name" in node:
            found.append(node)
    assert found
    return found


def test_lookups_read_the_chosen_rows_alone(without_statistics: OpenDatabase) -> None:
    database = without_statistics
    collection = database.find().id
    ids = [str(one).encode() for one in range(0, POINTS, POINTS // CHOSEN)]
    pks = list(range(1, POINTS, POINTS // CHOSEN))
    queries: list[tuple[str, Any]] = [
        (transaction._PKS, (ids, collection)),
        (reading._VECTORS, (pks, collection)),
        (f"SELECT p.* {reading._BY_PK}", {"given": pks, "collection": collection}),
        (f"SELECT p.* {reading._BY_ID}", {"given": ids, "collection": collection}),
    ]
    for query, parameters in queries:
        for node in scans(database, query, parameters):
            dropped = node.get("Rows Removed by Filter", 0)
            assert (node["Actual Loops"], node["Actual Rows"], dropped) == (CHOSEN, 1, 0), query

"""After a failover to the next host of the URL, the index goes on there by itself.

The first host commits a write when its standby has it (``synchronous_standby_names``); without that
a failover loses acknowledged writes, whatever a client does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from embedder.core.errors import Unavailable
from embedder.index.contract.points import Points, Query
from tests.unit.index.faults.crash_processes import ProcessGroup
from tests.unit.index.faults.saved_index import COUNT, ROWS, content, reopened, written
from tests.unit.index.places import DatabasePlace
from tests.unit.index.storage.postgres.postgres_server import server_of_test

NEW = Points(["new"], ROWS[:1], ["text"], [{}])
STEPS = 20


class Pair:
    """A server, and a standby that has each commit before it is acknowledged."""

    def __init__(self) -> None:
        self.first = server_of_test()
        self.first.create()
        self.first.start()
        self.second = self.first.make_standby()
        self.first.stop("fast")
        self.first.start(synchronous_standby_names="*")
        self.second.start()

    def create_database(self) -> str:
        """Create a database, and return its URL with both hosts."""
        return f"{self.first.create_database()},{quote(str(self.second.folder), safe='')}"

    def close(self) -> None:
        """Stop the servers that run."""
        for server in (self.first, self.second):
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Yield two servers."""
    with closing(Pair()) as pair:
        yield pair


def test_the_index_goes_on_at_the_next_host(pair: Pair, tmp_path: Path) -> None:
    index = reopened(written(DatabasePlace(tmp_path / "index", pair.create_database())))
    expected = content(index)
    pair.first.stop()

    with pytest.raises(Unavailable):
        index.upsert("c", NEW)
    with pytest.raises(Unavailable):
        index.search([Query("c", ROWS[0], 5)])
    (hits,) = index.search([Query("c", ROWS[0], 5, consistency="stale")])
    assert [hit.text for hit in hits] == ["text"] * 5
    assert len(index.scroll("c", consistency="stale").records) == COUNT

    pair.second.promote()
    assert content(index) == expected
    assert index.health().status == "ready"
    assert index.upsert("c", NEW) == 2
    assert index.count("c") == COUNT + 1
    index.close()


@pytest.mark.long_store
def test_a_failover_loses_no_acknowledged_write(pair: Pair, tmp_path: Path) -> None:
    place = DatabasePlace(tmp_path / "index", pair.create_database())
    with closing(ProcessGroup(place, 2)) as group:
        group.start()
        group.wait_for(STEPS)
        pair.first.stop()
        pair.second.promote()
        group.wait_for(STEPS)
        group.check()

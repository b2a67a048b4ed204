"""A standby that takes over without the last writes gives their numbers to other points.

Without ``synchronous_standby_names`` a failover loses acknowledged writes; every replica must find
what is left, and what is written then, as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from embedder.index.contract.points import Metric, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.postgres.postgres_server import PostgresServer, server_of_test

KEPT = {"kept": (3, 0)}
LOST = {"lost 1": (0, 4), "lost 2": (0, -5)}
OTHER = {"other 1": (-6, 0), "other 2": (-7, -7)}


@pytest.fixture
def first() -> Iterator[PostgresServer]:
    """Yield a running server, which a test may stop."""
    server = server_of_test()
    server.create()
    server.start()
    yield server
    _stop(server)


def _stop(server: PostgresServer) -> None:
    if (server.folder / "data" / "postmaster.pid").exists():
        server.stop()


def _fail_over(first: PostgresServer, standby: PostgresServer) -> None:
    first.stop()
    standby.start()
    standby.promote()


def _put(index: VectorIndex, stored: dict[str, tuple[int, int]]) -> None:
    """Write each point as a write of its own, so that each has a number of its own."""
    for name, vector in stored.items():
        index.upsert("c", points({name: vector}))


def _found(index: VectorIndex) -> dict[str, float]:
    """Return the distance of each point that a search finds from the origin."""
    (hits,) = index.search([Query("c", np.zeros(2, np.float32), 9)])
    return {hit.id: round(-hit.score, 4) for hit in hits}


def _distances(*stored: dict[str, tuple[int, int]]) -> dict[str, float]:
    return {
        name: round(float(np.hypot(*vector)), 4) for some in stored for name, vector in some.items()
    }


def test_other_writes_that_have_the_numbers_of_lost_ones_are_found(
    first: PostgresServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = first.create_database()

        def opened(name: str) -> VectorIndex:
            index = VectorIndex(small_settings(tmp_path / name, url=url), background=False)
            return stack.enter_context(closing(index))

        index = opened("first")
        index.create("c", Spec(Metric.L2))
        _put(index, KEPT)
        standby = first.make_standby()
        stack.callback(_stop, standby)
        url += f",{quote(str(standby.folder), safe='')}"
        restarted, searching, filtering, writing = map(opened, ("1", "2", "3", "4"))
        _put(restarted, LOST)
        for one in (restarted, searching, filtering, writing):
            assert _found(one) == _distances(KEPT, LOST)
            save(one, "c")
        restarted.close()
        _fail_over(first, standby)
        _put(opened("other"), OTHER)

        writing.upsert("c", points({"last": (8, 8)}))
        expected = _distances(KEPT, OTHER, {"last": (8, 8)})
        records = filtering.scroll("c", include=("vector",)).records
        assert [one.id for one in records] == [*expected]
        for one in (searching, filtering, writing, opened("1")):
            assert _found(one) == expected
            assert one.stats().status == "ready"
        save(searching, "c")
        searching.close()
        assert len([*(tmp_path / "2" / "collections").iterdir()]) == 1
        again = opened("2")
        assert _found(again) == expected
        assert again.stats().recovery.points_from_store == 0

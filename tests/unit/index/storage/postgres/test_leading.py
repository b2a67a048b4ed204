"""One process at a time leads a shard, and each history of a database has a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from embedder.core.errors import EmbedderError
from tests.unit.index.storage.postgres.postgres_server import PostgresServer
from tests.unit.waiting import eventually

if TYPE_CHECKING:
    from embedder.index.storage.postgres.store import PostgresStore

Opened = Callable[[int], "PostgresStore"]


@pytest.fixture
def opened(url: str) -> Iterator[Opened]:
    """Return a function that opens the store of a shard once more."""
    from embedder.index.storage.postgres.store import PostgresStore

    stores = []

    def opened(shard: int) -> PostgresStore:
        stores.append(PostgresStore(url, shard, 2))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


def _leads(store: PostgresStore) -> bool:
    try:
        return store.leads()
    except EmbedderError:
        return False


def test_the_first_process_that_asks_leads_until_it_closes(opened: Opened) -> None:
    first, second, other = opened(0), opened(0), opened(1)

    assert [first.leads(), second.leads(), other.leads()] == [True, False, True]
    assert [first.leads(), second.leads(), other.leads()] == [True, False, True]
    first.close()
    assert eventually(second.leads)


@pytest.mark.long_store
def test_a_lost_connection_ends_the_lead(opened: Opened, server: PostgresServer) -> None:
    first, second = opened(0), opened(0)
    assert first.leads()
    server.stop()
    assert not _leads(first)
    server.start()

    assert eventually(lambda: _leads(second))
    assert not first.leads()


@pytest.mark.long_store
def test_a_copy_and_a_host_that_takes_over_have_another_history(
    opened: Opened, server: PostgresServer, url: str
) -> None:
    from embedder.index.storage.postgres.store import PostgresStore

    first = opened(0)
    history = first.history()
    assert opened(1).history() == first.history() == history
    standby = server.make_standby()
    standby.start()
    standby.promote()
    database = url.rpartition("@/")[2].partition("?")[0]
    after = PostgresStore(standby.url(database), 0, 2)
    copy = PostgresStore(server.create_database(), 0, 2)

    assert len({history, after.history(), copy.history()}) == 3
    for store in (after, copy):
        store.close()
    standby.stop()

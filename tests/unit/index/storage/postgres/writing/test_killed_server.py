"""An acknowledged write outlives the server that acknowledged it, and none is stored twice."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

from embedder.core.errors import StageUnavailable
from tests.unit.index.storage.postgres.points import named
from tests.unit.index.storage.postgres.postgres_server import PostgresServer
from tests.unit.waiting import LONG_S, eventually

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

ROUNDS, WRITERS, WRITES = 3, 2, 10


class Writer(threading.Thread):
    """Stores points with ids of its own until the server is gone; every second one replaces."""

    def __init__(self, url: str, name: str) -> None:
        from tests.unit.index.storage.postgres.open_database import OpenDatabase

        super().__init__(name=name)
        self.acknowledged: list[str] = []
        self.error: Exception | None = None
        self._database = OpenDatabase(url)

    def run(self) -> None:
        from embedder.index.storage.postgres.connection.error_codes import translate_database_errors

        try:
            with translate_database_errors("here"):
                for number in count():
                    name = f"{self.name}-{number // 2}"
                    self._database.put(named("shared", name))
                    self.acknowledged.append(name)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self._database.close()


def test_acknowledged_writes_survive_immediate_stops(
    server: PostgresServer, database: OpenDatabase, url: str
) -> None:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    database.create()
    acknowledged: set[str] = set()
    for turn in range(ROUNDS):
        writers = [Writer(url, f"{turn}.{number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        assert eventually(lambda: all(len(one.acknowledged) >= WRITES for one in writers))  # noqa: B023 - called at once
        server.stop()
        for writer in writers:
            writer.join(LONG_S)
            assert isinstance(writer.error, StageUnavailable)
            acknowledged.update(writer.acknowledged)
        server.start()
        again = OpenDatabase(url)
        last = again.find()
        with again.snapshot() as snapshot:
            ids = [name for rows in snapshot.scan(last) for name in rows.ids]
        assert len(set(ids)) == len(ids) == last.count
        assert acknowledged <= set(ids)
        # At most the write that each writer was waiting for is there without an answer.
        assert len(set(ids) - acknowledged - {"shared"}) <= WRITERS * (turn + 1)
        again.close()

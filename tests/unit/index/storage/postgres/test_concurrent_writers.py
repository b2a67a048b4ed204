"""Writers of several connections lose no write, and their numbers have no gaps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.postgres.points import named

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

WRITERS, WRITES = 4, 12


def test_every_write_has_a_number_of_its_own(database: OpenDatabase, url: str) -> None:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    row = database.create()
    shared = [f"shared-{number}" for number in range(5)]

    def write(writer: int) -> list[int]:
        own, sequences = OpenDatabase(url), []
        for number in range(WRITES):
            with own.transaction() as transaction:
                found = transaction.find_collection("c")
                assert found is not None
                if number % 4 == 3:
                    updated = transaction.delete(found, transaction.find_pks(row.id, shared[:3]))
                else:
                    points = named(*shared, f"{writer}-{number}")
                    _, updated = transaction.upsert(found, encode(points))
                changed = updated.sequence > found.sequence
            if changed:
                sequences.append(updated.sequence)
        own.close()
        return sequences

    with ThreadPoolExecutor(WRITERS) as pool:
        sequences = [one for some in pool.map(write, range(WRITERS)) for one in some]

    last = database.find()
    assert sorted(sequences) == list(range(1, last.sequence + 1))
    pairs = database.reader.pairs(row.id)
    assert len(pairs) == last.count
    with database.snapshot() as snapshot:
        ids = [name for rows in snapshot.scan(last) for name in rows.ids]
    assert len(set(ids)) == len(ids)
    own = {f"{writer}-{number}" for writer in range(WRITERS) for number in range(WRITES)}
    assert set(ids) - set(shared) == {one for one in own if int(one.split("-")[1]) % 4 != 3}
    changes = database.changes(row.id, 0, 10_000)
    assert changes is not None
    assert sorted(changes.pairs.tolist()) == pairs.tolist()
    assert not set(changes.deleted.tolist()) & set(pairs[:, 0].tolist())

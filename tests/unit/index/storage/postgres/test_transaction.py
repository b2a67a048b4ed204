"""Collections are created, deleted and filled as the protocol of a store says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedder.core.storage_errors import NewerFormat, StaleCollection, StorageDamaged
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_DELETED
from embedder.index.contract.points import Metric, Points, Spec, StoredModel
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.postgres.points import named, points_of

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

MODEL = StoredModel("m\0é", "r\0", "d", "mean")


def test_all_properties_of_a_collection_are_stored(database: OpenDatabase) -> None:
    spec = Spec(Metric.L2, IndexKind.HNSW, 3, "m\0é", MODEL, "identity\0")

    created = database.create("..staged\0", spec)

    assert database.find("..staged\0") == created
    assert created.spec == spec
    with database.snapshot() as snapshot:
        assert snapshot.collections() == [created]
        assert snapshot.find_collection("..staged") is None


def test_a_shard_sees_only_its_collections(database: OpenDatabase, url: str) -> None:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    other = OpenDatabase(url, shard=1)
    mine, theirs = database.create(), other.create()
    database.put(named("a", "b"))

    assert mine.id != theirs.id
    assert (database.find().count, other.find().count) == (2, 0)
    assert database.uuid == other.uuid
    other.close()


def test_a_deleted_collection_is_not_created_again(database: OpenDatabase) -> None:
    row = database.create(spec=Spec(identity="i"))
    with database.transaction() as transaction:
        transaction.delete_collection(row)
        assert transaction.find_collection("c") is None
        assert transaction.deleted_among(["x", "i"]) == ["i"]
    with pytest.raises(StaleCollection):
        database.create(spec=Spec(identity="i"))

    assert database.create(spec=Spec(identity="j")).identity == "j"


def test_the_latest_identities_are_kept(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_DELETED > 2
    monkeypatch.setattr("embedder.index.storage.postgres.transaction.MAX_DELETED", 2)
    for name in "abc":
        row = database.create(spec=Spec(identity=name))
        with database.transaction() as transaction:
            transaction.delete_collection(row)

    with database.snapshot() as snapshot:
        assert snapshot.deleted_among(["a", "b", "c"]) == ["b", "c"]


def test_a_taken_name_is_a_conflict(database: OpenDatabase) -> None:
    import psycopg

    from embedder.index.storage.postgres.connection.error_codes import is_conflict

    database.create()

    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        database.create()
    assert is_conflict(raised.value)


def test_a_failed_write_leaves_nothing(database: OpenDatabase) -> None:
    database.create()

    def write() -> None:
        with database.transaction() as transaction:
            row = transaction.find_collection("c")
            assert row is not None
            transaction.upsert(row, encode(named("a")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert database.find().sequence == 0
    assert database.put(named("b")) == [1]


def test_a_damaged_collection_is_reported(database: OpenDatabase) -> None:
    database.create()
    database.execute("UPDATE embedder.collections SET sequence = 5")

    with pytest.raises(StorageDamaged):
        database.find()
    with pytest.raises(StorageDamaged):
        database.put(named("a"))


def test_tables_that_a_later_version_has_migrated_take_no_writes(database: OpenDatabase) -> None:
    database.create()
    database.execute("UPDATE embedder.meta SET version = 99")

    with pytest.raises(NewerFormat, match="has format 99; this version reads formats up to 3"):
        database.put(named("a"))
    with pytest.raises(NewerFormat):
        database.create("d")
    assert database.find().sequence == 0


class TestStaging:
    """A staged collection has copies of points with other vectors."""

    def fill(self, database: OpenDatabase, *, skip_outdated: bool = False) -> list[str]:
        """Stage a page of outdated points, and return their ids."""
        source, staged = database.find(), database.find(".c")
        with database.snapshot() as snapshot:
            points = snapshot.outdated(source.id, staged.id, 0)
        vectors = np.full((len(points), 3), 7, np.float32)
        # Meanwhile, b is overwritten and c loses its text.
        if not staged.count:
            database.put(points_of({"b": ("new", {}), "c": (None, {})}))
        with database.transaction() as transaction:
            source, staged = database.find(), database.find(".c")
            none = [None] * len(points)
            transaction.fill_staged(
                source, staged, points, vectors, none, skip_outdated=skip_outdated
            )
        return [one.id for one in points]

    @pytest.fixture(autouse=True)
    def _collections(self, database: OpenDatabase) -> None:
        database.create()
        database.create(".c", Spec(width=3))
        database.put(points_of({one: (f"text\0 {one}", {"k": one}) for one in "abcd"}))
        database.put(named("e"))

    def test_outdated_points_are_staged_until_none_is_left(self, database: OpenDatabase) -> None:
        assert self.fill(database) == ["a", "b", "c", "d"]
        assert self.fill(database) == ["b"]
        assert self.fill(database) == []

        staged = database.find(".c")
        page, _ = database.reader.page(staged.id, 0, 9, None, ResponseBudget())
        assert [(one.id, one.text, one.seq) for one in page] == [
            ("a", "text\0 a", 1),
            ("b", "new", 3),
            ("d", "text\0 d", 1),
        ]
        assert (staged.count, staged.sequence) == (3, 0)
        pks = np.array([one.pk for one in page])
        assert database.reader.vectors(staged.id, pks, 3)[2].tolist() == [[7, 7, 7]] * 3

    def test_a_frozen_copy_does_not_become_outdated(self, database: OpenDatabase) -> None:
        assert self.fill(database, skip_outdated=True) == ["a", "b", "c", "d"]

        found = database.reader.by_ids(database.find(".c").id, ["b"], ResponseBudget())
        assert found == []

    def test_copies_are_found_by_their_points(self, database: OpenDatabase) -> None:
        self.fill(database)
        database.put(named("d"))
        source, staged = database.find().id, database.find(".c").id
        with database.transaction() as transaction:
            pks = transaction.find_pks(source, ["b", "d", "e"])
            copies = transaction.copies(source, staged, pks)
            without = transaction.copies_without_text(source, staged)
            assert copies == transaction.find_pks(staged, ["b", "d"])
            assert without == transaction.find_pks(staged, ["d"])
            assert transaction.count_without_text(source) == 3

    def test_a_page_ends_with_many_characters(
        self, database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("embedder.index.storage.postgres.snapshot.PAGE_CHARACTERS", 10)
        source, staged = database.find().id, database.find(".c").id
        with database.snapshot() as snapshot:
            points = snapshot.outdated(source, staged, 0)
            assert [one.id for one in points] == ["a", "b"]
            assert [one.id for one in snapshot.outdated(source, staged, points[-1].pk)] == [
                *("c", "d")
            ]


def test_an_upsert_of_other_bytes_leaves_one_version(database: OpenDatabase) -> None:
    row = database.create()
    for value in (1, 2):
        vectors = np.full((1, 2), value, np.float32)
        database.put(Points(["a"], vectors, [str(value)], [{"v": value}]))

    ((found,), _) = database.reader.page(row.id, 0, 9, None, ResponseBudget())
    assert (found.text, found.metadata, found.seq) == ("2", '{"v":2}', 2)
    assert database.reader.vectors(row.id, np.array([1]), 2)[2].tolist() == [[2, 2]]

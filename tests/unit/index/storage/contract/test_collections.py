"""Collections are stored with all their fields; a deleted identity is never stored again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedder.core.errors import InvalidVector
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Spec, StoredModel
from embedder.index.storage.protocol import Store, Transaction
from embedder.index.storage.records import CollectionRow
from tests.unit.index.storage.contract.stores import Opener, commit, rows_of
from tests.unit.waiting import eventually

MODEL = StoredModel("m", "1", "0" * 64, "mean")
SPEC = Spec(Metric.L1, IndexKind.HNSW, 3, "stated", identity="given")


def _create(store: Store, name: str | None, spec: Spec = SPEC) -> CollectionRow:
    return commit(store, lambda rows: rows.insert_collection(name, spec))


def _find(store: Store, name: str) -> CollectionRow | None:
    with store.reader.snapshot() as snapshot:
        return snapshot.find_collection(name)


def test_a_collection_is_found_with_all_fields_after_a_restart(opener: Opener) -> None:
    created = _create(opener.store, "c")
    other = _create(opener.store, "other", replace(SPEC, identity=None, stored=MODEL))
    store = opener.reopen()

    assert created.spec == SPEC
    assert other.stored == replace(MODEL, name="stated")
    assert _find(store, "c") == created
    assert sorted(store.collections(), key=lambda row: row.id) == [created, other]
    assert created.uuid != other.uuid
    assert len({"given", other.identity, other.uuid}) == 3


def test_a_collection_without_a_public_name_is_not_listed(store: Store) -> None:
    unnamed = _create(store, None)
    staged = _create(store, ".c", Spec())
    shown = commit(store, lambda rows: rows.update_collection(replace(unnamed, name="c")))

    assert store.collections() == [shown]
    assert _find(store, ".c") == staged


def test_an_update_stores_every_field(opener: Opener) -> None:
    created = _create(opener.store, "c")
    changed = replace(
        created.with_model(MODEL), name="d", width=None, sequence=7, count=5, identity="other"
    )
    commit(opener.store, lambda rows: rows.update_collection(changed))
    store = opener.reopen()

    assert _find(store, "d") == changed
    assert _find(store, "c") is None


def test_a_deleted_collection_frees_its_name_and_not_its_identity(opener: Opener) -> None:
    created = _create(opener.store, "c")
    commit(opener.store, lambda rows: rows.delete_collection(created))
    store = opener.reopen()
    with pytest.raises(StaleCollection):
        _create(store, "c")
    again = _create(store, "c", replace(SPEC, identity="second"))
    with store.reader.snapshot() as snapshot:
        deleted = snapshot.deleted_among(["second", "given", "other"])

    assert deleted == ["given"]
    assert store.collections() == [again]
    assert again.id != created.id


def test_points_of_deleted_and_unnamed_collections_are_reclaimed_unless_spared(
    store: Store,
) -> None:
    kept, spared, deleted = (_create(store, name, Spec()) for name in ("c", None, "d"))

    def fill(rows: Transaction) -> None:
        for row in (kept, spared, deleted):
            rows.upsert(row, rows_of(["a", "b"]))
        rows.delete_collection(deleted)

    commit(store, fill)
    store.reclaim({spared.id})

    assert eventually(lambda: not len(store.reader.pairs(deleted.id)))
    assert len(store.reader.pairs(kept.id)) == len(store.reader.pairs(spared.id)) == 2


def test_vectors_of_another_width_are_refused(store: Store) -> None:
    created = _create(store, "c")
    with pytest.raises(InvalidVector, match="has 2 components; the collection has 3"):
        commit(store, lambda rows: rows.upsert(created, rows_of(["a"])))

    assert _find(store, "c") == created

"""Searches by sparse vectors find what a loop over all points finds, and no copy loses weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import PAYLOAD, Points, Query, Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.sparse import sparse_index
from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import PLACES, Place
from tests.unit.index.reembedding.steps import NEW, NEW_SPEC
from tests.unit.index.small_index import ALL_FIELDS
from tests.unit.index.sparse.sparse_oracle import (
    Content,
    Weights,
    check,
    contents,
    points_of,
    search,
    vectors_of,
)
from tests.unit.index.storage.contract.stores import commit
from tests.unit.waiting import eventually

TABLES = {"sqlite": "sparse_", "postgres": "embedder.sparse_"}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path / "index")
    yield place
    place.discard()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each step make few blocks, and delete few."""
    monkeypatch.setattr(sparse_index, "CHUNK", 7)
    monkeypatch.setattr(sparse_index, "CLEARED_ROWS", 10)


def _open(place: Place) -> VectorIndex:
    return VectorIndex(place.settings(), background=False)


def _filled(place: Place, content: Content) -> VectorIndex:
    index = _open(place)
    index.upsert("c", points_of(content))
    return index


def test_searches_follow_every_kind_of_write(place: Place, tmp_path: Path) -> None:
    content = contents(1)
    index = _filled(place, content)
    check(index, content)
    changed = contents(2, 30)
    content |= changed
    index.upsert("c", points_of(changed))
    check(index, content)
    replaced = list(content)[::5]
    vectors = np.ones((len(replaced), 2), np.float32)
    index.upsert("c", Points(replaced, vectors, [None] * len(replaced), [{}] * len(replaced)))
    content |= dict.fromkeys(replaced)  # a client's vectors have no weights beside them
    index.delete_points("c", gone := list(content)[::3])
    content = {one: weights for one, weights in content.items() if one not in gone}
    check(index, content)
    index.close()
    with closing(_open(place)) as index:
        check(index, content)
        index.back_up("c", tmp_path / "copy")
        index.restore(tmp_path / "copy", "again")
        index.delete("c")
        check(index, content, "again")
        index.back_up("again", tmp_path / "second")
        index.restore(tmp_path / "second", "again", replacing=True)
        check(index, content, "again")


def test_a_new_model_brings_its_own_weights(place: Place) -> None:
    content = {name: weights for name, weights in contents(3).items() if weights}
    other = {
        name: {one + 1: 2.0 * weight for one, weight in weights.items()}
        for name, weights in content.items()
    }
    with closing(_filled(place, content)) as index:
        info = index.describe("c")
        spec = Spec(width=3, stored=NEW, identity=NEW_SPEC.identity)
        identity = index.begin_staged("c", info.identity, spec).identity
        while page := index.outdated("c", identity, 0)[:11]:
            vectors = np.ones((len(page), 3), np.float32)
            weights = [other[one.id] for one in page]
            index.fill_staged("c", identity, page, vectors, [*map(SparseVector.of, weights)])
        check(index, content)
        index.delete_points("c", gone := list(content)[:3])
        index.freeze("c", identity, False)
        index.switch("c", identity)

        for one in gone:
            del other[one]
        check(index, other)


def test_a_new_model_without_weights_leaves_none(place: Place) -> None:
    content = {name: weights for name, weights in contents(4, 9).items() if weights}
    with closing(_filled(place, content)) as index:
        info = index.describe("c")
        spec = Spec(width=3, stored=NEW, identity=NEW_SPEC.identity)
        identity = index.begin_staged("c", info.identity, spec).identity
        page = index.outdated("c", identity, 0)
        index.fill_staged("c", identity, page, np.ones((len(page), 3), np.float32))
        index.freeze("c", identity, False)
        index.switch("c", identity)

        check(index, dict.fromkeys(content))


def test_a_collection_without_weights_says_so(place: Place) -> None:
    with closing(_filled(place, {"a": None})) as index:
        answer = index.search_sparse([SparseQuery("c", SparseVector.of({1: 1.0}), 1)])
        index.create("empty")
        empty = index.search_sparse([SparseQuery("empty", SparseVector.of({1: 1.0}), 1)])

        assert (answer.hits, answer.points, answer.weighted) == ([[]], 1, 0)
        assert (empty.hits, empty.points, empty.weighted) == ([[]], 0, 0)


def test_hits_are_chosen_by_filter_threshold_and_top_k(place: Place) -> None:
    content: Content = {"b": {1: 1.0}, "a": {1: 1.0}, "c": {1: 0.5, 2: 1.0}, "d": {2: 1.0}, "e": {}}
    with closing(_filled(place, content)) as index:

        def found(weights: Weights, top_k: int = 9, **given: object) -> list[str]:
            asked = SparseQuery("c", SparseVector.of(weights), top_k, **given)  # type: ignore[arg-type]
            return [hit.id for hit in index.search_sparse([asked]).hits[0]]

        assert found({1: 1.0}) == ["a", "b", "c"], "equal scores are in the order of the ids"
        assert found({1: 1.0}, 1) == ["a"]
        assert found({1: 1.0}, filter=parse({"id": {"$ne": "a"}})) == ["b", "c"]
        assert found({1: 1.0}, threshold=0.5) == ["a", "b", "c"]
        assert found({1: 1.0}, threshold=np.nextafter(0.5, 1).item()) == ["a", "b"]
        for include in [(), PAYLOAD, ALL_FIELDS]:
            asked = SparseQuery("c", SparseVector.of({2: 1.0}), 1, include=include)
            ((hit,),) = index.search_sparse([asked]).hits
            assert hit.text == ("text of c" if "text" in include else None)
            assert (hit.vector is None) == ("vector" not in include)


def test_a_damaged_block_is_made_again(place: Place) -> None:
    content = contents(5)
    with closing(_filled(place, content)) as index:
        place.execute(f"UPDATE {TABLES[place.store]}postings SET crc = crc + 1")
        with pytest.raises(Unavailable, match="sparse vectors of collection 'c' are being indexed"):
            search(index, {1: 1.0})
        assert len(index.search([Query("c", np.ones(2, np.float32), 3)])[0]) == 3
        check(index, content)


def test_an_unfinished_index_is_completed_at_the_start(place: Place) -> None:
    content = contents(6)
    _filled(place, content).close()
    place.execute(f"UPDATE {TABLES[place.store]}totals SET indexed = -1")
    with closing(_open(place)) as index:
        check(index, content)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {}vectors SET crc = crc + 1 WHERE pk = (SELECT min(pk) FROM {}vectors)",
        "DELETE FROM {}vectors WHERE pk = (SELECT min(pk) FROM {}vectors)",
        "DELETE FROM {}totals",
        "UPDATE {}totals SET points = points + 1",
        "UPDATE {}vectors SET pk = 1000000 WHERE pk = (SELECT max(pk) FROM {}vectors)",
    ],
)
def test_no_copy_is_made_of_rows_that_have_lost_weights(
    place: Place, tmp_path: Path, damage: str
) -> None:
    with closing(_filled(place, contents(7))) as index:
        place.execute(damage.replace("{}", TABLES[place.store]))
        with pytest.raises(StorageDamaged):
            index.back_up("c", tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


def test_a_deleted_collection_leaves_nothing(place: Place) -> None:
    with closing(_filled(place, contents(8))) as index:
        number, store = index._shard.find("c").id, index._shard.store
        index.delete("c")

        assert eventually(lambda: store.reader.sparse_totals(number) is None)
        assert not commit(store, lambda rows: rows.sparse.clear_blocks(number, 1))
        assert commit(store, lambda rows: rows.sparse.vectors_after(number, 0, 1)) == {}


def test_an_export_has_the_weights(place: Place, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    content = contents(9)
    with closing(_filled(place, content)) as index:
        index.export("c", tmp_path / "c.parquet")
        table = parquet.read_table(tmp_path / "c.parquet").to_pydict()
        index.upsert("plain", points_of({"a": None}))
        index.export("plain", tmp_path / "plain.parquet")

        assert table["id"] == list(content)
        for at, vector in enumerate(vectors_of(content)):
            expected = None if vector is None else (vector.ids.tolist(), vector.weights.tolist())
            ids, weights = table["sparse_ids"][at], table["sparse_weights"][at]
            assert (None if ids is None else (ids, weights)) == expected
        names = parquet.read_table(tmp_path / "plain.parquet").column_names
        assert names == ["id", "vector", "text", "metadata"]


def test_a_write_on_a_full_disk_gives_the_blocks_up_and_keeps_the_rows(tmp_path: Path) -> None:
    place = PLACES["sqlite"](tmp_path / "index")
    content = contents(10)
    with closing(_filled(place, content)) as index:
        store = index._shard.store
        rows = store._committer._rows  # type: ignore[attr-defined]
        rows.changes_blocks = False
        index.delete_points("c", gone := list(content)[:5])
        rows.changes_blocks = True
        for one in gone:
            del content[one]
        with store.reader.snapshot() as snapshot:
            (row,) = snapshot.collections()
            kept = [vector for chunk in snapshot.scan(row) for vector in chunk.sparse]
        assert len(kept) == len(content)
        assert sum(one is not None for one in kept) == sum(
            one is not None for one in content.values()
        )
        check(index, content)
    place.discard()

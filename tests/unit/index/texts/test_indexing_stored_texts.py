"""Texts without an index, or with a damaged one, are indexed between other writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import Unavailable
from embedder.index.contract.points import Hit, Points, Query
from embedder.index.contract.texts import TextQuery
from embedder.index.storage import posting_indexing
from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import PLACES, DatabasePlace, Place
from tests.unit.index.storage.contract.stores import commit
from tests.unit.index.texts.text_oracle import best
from tests.unit.waiting import eventually

TEXTS: dict[str, str | None] = {
    f"p{at}": None if at % 7 == 0 else f"wing {at % 5} number {at}" for at in range(60)
}
TABLES = {"sqlite": "text_", "postgres": "embedder.text_"}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path / "index")
    yield place
    place.discard()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each step index few points, and delete few rows."""
    monkeypatch.setattr(posting_indexing, "STEP_POINTS", 5)
    monkeypatch.setattr(posting_indexing, "CLEARED_ROWS", 10)


def _open(place: Place) -> VectorIndex:
    return VectorIndex(place.settings(), background=False)


def _put(index: VectorIndex, texts: dict[str, str | None]) -> None:
    rows = np.ones((len(texts), 2), np.float32)
    index.upsert("c", Points(list(texts), rows, list(texts.values()), [{}] * len(texts)))


def _filled(place: Place) -> VectorIndex:
    index = _open(place)
    _put(index, TEXTS)
    return index


def _found(index: VectorIndex, query: str) -> list[Hit]:
    hits: list[list[Hit]] = []

    def answers() -> bool:
        try:
            hits.extend(index.search_text([TextQuery("c", query, 100)]))
        except Unavailable:
            return False
        return True

    assert eventually(answers)
    return hits[0]


def _check(index: VectorIndex, texts: dict[str, str | None]) -> None:
    for query in ("wing 3", "number 41"):
        found = _found(index, query)
        assert [hit.id for hit in found] == [one for one, _ in best(texts, query)]
        assert [hit.score for hit in found] == pytest.approx([s for _, s in best(texts, query)])


def test_texts_of_an_earlier_version_are_indexed_at_the_start(place: Place) -> None:
    _filled(place).close()
    for table in ("totals", "documents", "postings"):
        place.execute(f"DELETE FROM {TABLES[place.store]}{table}")
    with closing(_open(place)) as index:
        _check(index, TEXTS)


def test_until_then_searches_by_words_are_refused_and_all_else_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = dict(TEXTS)
    with closing(_filled(place)) as index:
        with monkeypatch.context() as patch:
            patch.setattr(index._shard.store, "index_postings", lambda: None)
            place.execute(
                f"UPDATE {TABLES[place.store]}totals SET indexed = 0, documents = 0, terms = 0"
            )
            for table in ("documents", "postings"):
                place.execute(f"DELETE FROM {TABLES[place.store]}{table}")
            with pytest.raises(Unavailable, match="'c' are being indexed"):
                index.search_text([TextQuery("c", "wing", 1)])
            changed: dict[str, str | None] = {"p3": "number 41 again", "new": "wing 3"}
            _put(index, changed)
            index.delete_points("c", ["p8", "p59"])
            assert len(index.search([Query("c", np.ones(2, np.float32), 3)])[0]) == 3
        texts = {one: text for one, text in (texts | changed).items() if one not in ("p8", "p59")}
        _check(index, texts)


@pytest.mark.parametrize("found_by", ["a search", "a write"])
def test_a_damaged_index_is_made_again(place: Place, found_by: str) -> None:
    texts = dict(TEXTS)
    with closing(_filled(place)) as index:
        place.execute(f"UPDATE {TABLES[place.store]}postings SET crc = crc + 1")
        if found_by == "a write":
            texts["p3"] = "number 41 again"
            _put(index, {"p3": texts["p3"]})
        else:
            with pytest.raises(Unavailable):
                index.search_text([TextQuery("c", "wing", 1)])
        _check(index, texts)
        texts["p4"] = "number 41"
        _put(index, {"p4": texts["p4"]})
        _check(index, texts)


def test_a_damaged_text_keeps_no_other_collection_from_being_indexed(place: Place) -> None:
    index = _filled(place)
    rows = np.ones((1, 2), np.float32)
    index.upsert("b", Points(["x"], rows, ["wing"], [{}]))
    index.close()
    table = "points" if place.store == "sqlite" else "embedder.points"
    name = "ext_id = 'p1'" if place.store == "sqlite" else "id = 'p1'"
    place.execute(f"UPDATE {table} SET crc = crc + 1 WHERE {name}")
    place.execute(f"DELETE FROM {TABLES[place.store]}totals")
    with closing(_open(place)) as index:
        assert eventually(lambda: _answers(index, "b"))
        assert not _answers(index, "c")


def test_a_collection_in_use_keeps_no_other_one_from_being_indexed(tmp_path: Path) -> None:
    place = PLACES["postgres"](tmp_path / "index")
    assert isinstance(place, DatabasePlace)
    index = _filled(place)
    index.upsert("d", Points(["x"], np.ones((1, 2), np.float32), ["wing"], [{}]))
    number = index._shard.find("d").id
    index.close()
    place.execute(f"DELETE FROM embedder.text_totals WHERE collection = {number}")
    with place.connection() as db, db.transaction():
        db.execute("SELECT FROM embedder.collections WHERE name = 'c' FOR UPDATE")
        with closing(_open(place)) as index:
            assert eventually(lambda: _answers(index, "d"))
    place.discard()


def _answers(index: VectorIndex, name: str) -> bool:
    try:
        return bool(index.search_text([TextQuery(name, "wing", 1)])[0])
    except Unavailable:
        return False


def test_a_deleted_collection_leaves_nothing(place: Place) -> None:
    with closing(_filled(place)) as index:
        number = index._shard.find("c").id
        terms = ["wing", "number"]
        store = index._shard.store
        index.delete("c")

        assert eventually(lambda: commit(store, lambda rows: rows.texts.totals(number)) is None)
        assert not commit(store, lambda rows: rows.texts.clear(number, 1))
        assert not any(map(len, store.reader.postings(number, terms).values()))


def test_a_long_text_takes_a_step_of_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting_indexing, "STEP_CHARACTERS", 1)
    _filled(place).close()
    place.execute(f"DELETE FROM {TABLES[place.store]}totals")
    with closing(_open(place)) as index:
        _check(index, TEXTS)

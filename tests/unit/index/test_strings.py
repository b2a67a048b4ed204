"""Ids, texts and metadata of any Unicode are stored, searched and copied unchanged."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Points, Query, Record, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.contract.filter_strategies import METADATA
from tests.unit.index.hostile_strings import ANY_TEXT, IDS
from tests.unit.index.small_index import ALL_FIELDS, save, small_settings

pytestmark = pytest.mark.every_store

Stored = dict[str, tuple[str | None, dict[str, Any]]]
MEMORY = Path("/dev/shm")
"""A file system without the cost of fsync."""


def _put(index: VectorIndex, stored: Stored, name: str = "c") -> None:
    rows = np.array([[at + 1, 1] for at in range(len(stored))], np.float32)
    texts = [text for text, _ in stored.values()]
    index.upsert(name, Points(list(stored), rows, texts, [one for _, one in stored.values()]))


def _ids(stored: str) -> Stored:
    return {name: (None, {}) for name in stored.split(" ")}


def _content(records: list[Record]) -> Stored:
    return {one.id: (one.text, one.metadata) for one in records}


def _check(index: VectorIndex, stored: Stored, name: str = "c") -> None:
    """Check every way to read the points."""
    page = index.scroll(name, None, 1000, None, ALL_FIELDS)

    assert [one.id for one in page.records] == list(stored)
    assert _content(page.records) == stored
    assert _content(index.fetch(name, list(stored))) == stored
    assert index.describe(name).count == len(stored)
    for one in page.records:
        assert one.vector is not None
        nearest, by_id = index.search(
            [Query(name, one.vector, 1), Query(name, None, len(stored), id=one.id)]
        )
        assert (nearest[0].id, nearest[0].text, nearest[0].metadata) == (one.id, *stored[one.id])
        assert {hit.id for hit in by_id} == stored.keys() - {one.id}


@given(
    st.dictionaries(IDS, st.tuples(st.none() | ANY_TEXT, METADATA), min_size=1, max_size=8),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_every_string_is_stored_and_copied_unchanged(stored: Stored, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        place = Path(folder)
        with closing(VectorIndex(small_settings(place / "index"), background=False)) as index:
            _put(index, stored)
            _put(index, stored)
            _check(index, stored)
            save(index, "c")
            index.back_up("c", place / "copy")
            index.export("c", place / "c.parquet")
        table = pyarrow.parquet.read_table(place / "c.parquet").to_pylist()
        assert {one["id"]: (one["text"], json.loads(one["metadata"])) for one in table} == stored
        with closing(VectorIndex(small_settings(place / "index"), background=False)) as index:
            _check(index, stored)
            index.restore(place / "copy", "again")
            _check(index, stored, "again")
            gone = data.draw(st.sampled_from(sorted(stored)))
            others = data.draw(st.lists(IDS.filter(lambda name: name not in stored), max_size=3))
            assert index.delete_points("c", [gone, *others]).count == 1
            left = {name: one for name, one in stored.items() if name != gone}
            assert _content(index.scroll("c", None, 1000, None, ALL_FIELDS).records) == left


def test_an_id_that_begins_with_another_id_is_a_different_id(tmp_path: Path) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        _put(index, _ids("a b"))

        assert index.delete_points("c", ["a\0zzz", "b\0"]).count == 0
        assert index.fetch("c", ["a\0", "b\0"]) == []
        _put(index, _ids("a b a\0b"))
        _put(index, _ids("a b a\0b"))
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        assert index.stats().status == "ready"
        _check(index, _ids("a b a\0b"))
        assert index.delete_points("c", ["a\0b"]).count == 1
        _check(index, _ids("a b"))


def test_more_ids_than_one_statement_accepts_are_all_found() -> None:
    names = [f"{'a' * (number % 3)}\0{number}" for number in range(1500)]
    with closing(VectorIndex(small_settings(), background=False)) as index:
        _put(index, {name: (None, {}) for name in names})
        _put(index, {name: (None, {}) for name in names[::2]})

        assert [one.id for one in index.fetch("c", names)] == names
        assert index.delete_points("c", names[1:]).count == 1499


@pytest.mark.parametrize("name", ["\ud800", "c\udfff"])
def test_a_lone_surrogate_is_refused_and_the_next_write_succeeds(name: str) -> None:
    """A text that SQLite cannot store is refused before the transaction."""
    with closing(VectorIndex(small_settings(), background=False)) as index:
        _put(index, _ids("a b"))

        for refused in (
            lambda: index.upsert(name, Points(["a"], np.ones((1, 2), np.float32), [None], [{}])),
            lambda: index.create(name),
            lambda: index.create("d", Spec(model=name)),
            lambda: index.delete(name),
            lambda: index.delete_points(name, ["a"]),
            lambda: index.delete_points("c", [name]),
            lambda: index.delete_matching(name, parse({"a": 1})),
            lambda: index.fetch("c", [name]),
            lambda: index.search([Query("c", None, 1, id=name)]),
            lambda: _put(index, {"x": (name, {})}),
            lambda: _put(index, {"x": (None, {name: 1})}),
            lambda: _put(index, {"x": (None, {"k": [name]})}),
        ):
            with pytest.raises((InvalidInput, UnknownCollection)):
                refused()
        _put(index, _ids("a b c"))
        assert index.stats().status == "ready"
        _check(index, _ids("a b c"))


def test_a_cursor_is_valid_for_one_collection_only() -> None:
    with closing(VectorIndex(small_settings(), background=False)) as index:
        for name in ("c", "other"):
            _put(index, _ids("a b c"), name)
        cursor = index.scroll("c", limit=1).cursor
        assert cursor is not None

        for forged in (f"{cursor}0" * 99, f"{cursor}\n", f"0{cursor}", "9" * 5000, "\0", "٣"):
            with pytest.raises(InvalidInput, match="is not one that a page came with"):
                index.scroll("c", forged)
        with pytest.raises(InvalidInput, match="is not one of the present collection 'other'"):
            index.scroll("other", cursor)
        index.delete("c")
        _put(index, _ids("a b c"))
        with pytest.raises(InvalidInput, match="is not one of the present collection 'c'"):
            index.scroll("c", cursor)


@pytest.mark.parametrize(("threshold", "found"), [(1e300, 0), (-1e300, 2), (4e38, 0), (-4e38, 2)])
def test_a_threshold_beyond_float32_excludes_or_admits_every_point(
    threshold: float, found: int
) -> None:
    with closing(VectorIndex(small_settings(), background=False)) as index:
        _put(index, _ids("a b"))

        query = Query("c", np.ones(2, np.float32), 9, threshold=threshold)
        assert len(index.search([query])[0]) == found

"""A collection is re-embedded in steps, and a crash may follow each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Metric, PointField, Query, Spec
from embedder.index.storage import failpoints
from embedder.index.storage.sqlite.files.inspection import inspect
from embedder.index.storage.sqlite.reading import SqliteReader
from tests.unit.index.reembedding.steps import (
    NEW,
    NEW_SPEC,
    OLD,
    Texts,
    complete,
    content,
    expected,
    fill_page,
    new_vector,
    old_vector,
    open_index,
    points_of,
)
from tests.unit.index.stores import TESTED

pytestmark = pytest.mark.every_store


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of an index; disarm all fail points afterwards."""
    yield tmp_path
    failpoints.arm(None)


def test_all_texts_get_new_vectors_and_everything_else_stays(folder: Path) -> None:
    index = open_index(folder)
    texts: Texts = {f"p{number}": "a" * number for number in range(40)}
    index.upsert("c", points_of(texts), Spec(stored=OLD))
    before = index.describe("c")
    complete(index)
    after = index.describe("c")
    for _ in range(2):
        assert content(index) == expected(texts, new_vector)
        (hits,) = index.search([Query("c", np.array([1, 2, 7], np.float32), 1)])
        assert (hits[0].id, hits[0].score) == ("p7", 0.0)
        assert index.describe("c").stored == NEW
        index.close()
        index = open_index(folder)

    assert (before.stored, after.width, after.count) == (OLD, 3, 40)
    assert (after.sequence, after.identity) == (before.sequence, NEW_SPEC.identity)
    assert index.deleted([before.identity]) == [before.identity]
    index.close()
    if TESTED.name == "sqlite":
        assert [(one.name, one.problem) for one in inspect(folder).collections] == [("c", None)]


def test_a_staged_collection_is_invisible_to_clients_and_survives_a_restart(folder: Path) -> None:
    index = open_index(folder)
    index.upsert("c", points_of({"a": "text", "b": "more"}), Spec(stored=OLD))
    identity = index.describe("c").identity
    index.begin_staged("c", identity, NEW_SPEC)
    fill_page(index, str(NEW_SPEC.identity))
    index.close()
    index = open_index(folder)

    assert [info.name for info in index.collections()] == ["c"]
    for name in (".c", "..c"):
        with pytest.raises(UnknownCollection):
            index.search([Query(name, np.ones(3, np.float32), 1)])
        with pytest.raises(UnknownCollection):
            index.delete(name)
        with pytest.raises(UnknownCollection):
            index.record_model(name, None, OLD)
        with pytest.raises(InvalidInput):
            index.upsert(name, points_of({"a": "b"}))
    assert content(index) == expected({"a": "text", "b": "more"}, old_vector)
    assert not index.outdated("c", str(NEW_SPEC.identity), 0)
    index.close()


def test_a_frozen_collection_refuses_writes_until_the_switch(folder: Path) -> None:
    index = open_index(folder)
    index.upsert("c", points_of({"a": "text"}), Spec(stored=OLD))
    identity = index.begin_staged("c", index.describe("c").identity, NEW_SPEC).identity
    with pytest.raises(Unavailable, match="not complete"):
        index.switch("c", identity)
    index.freeze("c", identity, False)
    writes: list[Callable[[], object]] = [
        lambda: index.upsert("c", points_of({"b": "text"})),
        lambda: index.delete_points("c", ["a"]),
        lambda: index.delete_matching("c", parse({"id": "a"})),
    ]
    for write in writes:
        with pytest.raises(Unavailable, match="embedder index reembed c"):
            write()
    assert content(index) == expected({"a": "text"}, old_vector)
    index.discard_staged("c", identity)
    writes[0]()
    with pytest.raises(StaleCollection):
        index.switch("c", identity)
    with pytest.raises(StaleCollection):
        index.begin_staged("c", index.describe("c").identity, NEW_SPEC)
    index.close()


def test_points_without_a_text_are_refused_or_left_out(folder: Path) -> None:
    index = open_index(folder)
    texts: Texts = {"a": "text", "b": None, "c": "more"}
    index.upsert("c", points_of(texts))
    assert index.count_without_text("c") == 1
    with pytest.raises(InvalidInput, match=r"1 points .* --drop-without-text"):
        complete(index)
    index.upsert("c", points_of({"c": None}))
    complete(index, dropping=True)

    assert content(index) == expected({"a": "text"}, new_vector)
    index.close()


@pytest.mark.parametrize("frozen", [False, True])
def test_deleting_or_restoring_a_collection_deletes_its_staged_collection(
    folder: Path, frozen: bool
) -> None:
    index = open_index(folder / "index")
    ends: list[Callable[[], object]] = [
        lambda: index.delete("c"),
        lambda: index.restore(folder / "backup", "c", replacing=True),
    ]
    for number, end in enumerate(ends):
        index.upsert("c", points_of({"a": "text"}), Spec(Metric.L2, stored=OLD))
        if number == 0:
            index.back_up("c", folder / "backup")
        spec = Spec(Metric.L2, width=3, stored=NEW, identity=f"draft {number}")
        identity = index.begin_staged("c", index.describe("c").identity, spec).identity
        fill_page(index, identity)
        if frozen:
            index.freeze("c", identity, False)
        end()
        index.upsert("c", points_of({"b": "text"}))
        assert index.staged("c") is None
        assert index.deleted([identity]) == [identity]
    index.close()


def test_a_shard_follows_the_switch_of_another_shard(folder: Path) -> None:
    index = open_index(folder)
    index.upsert("c", points_of({"a": "text"}), Spec(stored=OLD))
    old = index.describe("c").identity
    identity = index.begin_staged("c", old, NEW_SPEC).identity
    fill_page(index, identity)
    index.freeze("c", identity, False)
    for _ in range(2):
        index.delete("c", old)
        assert index.describe("c").identity == identity
        assert content(index) == expected({"a": "text"}, new_vector)
    index.switch("c", identity)
    with pytest.raises(InvalidInput, match="new vectors already"):
        index.discard_staged("c", identity)
    index.close()


def test_a_late_fill_does_not_outdate_a_frozen_collection(folder: Path) -> None:
    index = open_index(folder)
    index.upsert("c", points_of({"a": "text"}), Spec(stored=OLD))
    identity = index.begin_staged("c", index.describe("c").identity, NEW_SPEC).identity
    late = index.outdated("c", identity, 0)
    index.upsert("c", points_of({"a": "changed"}))
    fill_page(index, identity)
    index.freeze("c", identity, False)
    index.fill_staged("c", identity, late, np.zeros((1, 3), np.float32))
    index.switch("c", identity)

    assert content(index) == expected({"a": "changed"}, new_vector)
    index.close()


def _write_nothing(_: object) -> Callable[[], None]:
    return lambda: None


@pytest.mark.sqlite  # its rows and its state need not be of one moment
@pytest.mark.parametrize("include", [(), ("text",), ("vector",)])
def test_a_search_overtaken_by_the_switch_uses_the_new_vectors(
    folder: Path, include: tuple[PointField, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(folder)
    texts: Texts = {f"p{number}": "a" * number for number in range(40)}
    index.upsert("c", points_of(texts), Spec(stored=OLD))
    source = index.describe("c").identity
    identity = index.begin_staged("c", source, replace(NEW_SPEC, width=2)).identity
    far = np.array([[1000, 1]] * 40, np.float32)
    index.fill_staged("c", identity, index.outdated("c", identity, 0), far)
    index.freeze("c", identity, False)
    matching, overtaken = SqliteReader.matching, threading.Event()

    def overtake(*given: Any) -> Any:
        if not overtaken.is_set():
            overtaken.set()
            index.switch("c", identity)
            for _ in range(4):  # after the writes that purge the old collection
                index._shard.store.submit(_write_nothing, frees=True).result()
        return matching(*given)

    monkeypatch.setattr(SqliteReader, "matching", overtake)
    query = Query("c", np.array([1, 1], np.float32), 40, filter=parse({"id": {"$exists": True}}))
    (hits,) = index.search([replace(query, include=include)])
    with pytest.raises(StaleCollection):
        index.search([replace(query, model=OLD)])

    assert [hit.score for hit in hits] == [-999.0] * 40
    index.close()


POINTS = ("commit.before", "commit.after", "apply.after", "reembed.before_switch")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("step", range(1, 8))
def test_after_a_crash_the_same_calls_complete_the_reembedding(
    folder: Path, point: str, step: int
) -> None:
    index = open_index(folder)
    texts: Texts = {f"p{number}": "a" * number for number in range(5)}
    index.upsert("c", points_of(texts), Spec(stored=OLD))
    failpoints.arm(f"{point}:eio@{step}")
    try:
        complete(index)
    except Exception:  # noqa: BLE001 - the error depends on the fail point
        failpoints.arm(None)
        assert content(index) in (expected(texts, old_vector), expected(texts, new_vector))
    failpoints.arm(None)
    index.close()
    index = open_index(folder)
    assert content(index) in (expected(texts, old_vector), expected(texts, new_vector))
    complete(index)
    assert content(index) == expected(texts, new_vector)
    index.close()

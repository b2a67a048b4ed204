"""Each created collection has an identity, and its texts have one model, in old files as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index import lifecycle
from embedder.index.contract.points import Points, Query, Spec, StoredModel
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.stores import TESTED

pytestmark = pytest.mark.every_store
FORGETTING = {"sqlite": "sqlite.collection_table", "postgres": "postgres.transaction"}
"""The modules that forget deleted identities."""

A = StoredModel("a", "1", "0" * 64, "mean")
B = StoredModel("b", "2", "0" * 64, "mean")
RENAMED = StoredModel("c", A.revision, A.digest, A.pooling)
POINTS = Points(["x"], np.ones((1, 2), np.float32), ["text"], [{}])
VECTOR = np.ones(2, np.float32)


def _open(folder: Path) -> VectorIndex:
    return VectorIndex(small_settings(folder), background=False)


def test_each_created_collection_has_its_own_identity_after_a_restart(tmp_path: Path) -> None:
    index = _open(tmp_path)
    first = index.create("c").identity
    index.delete("c")
    given = index.create("c", Spec(identity="given"))
    index.upsert("d", POINTS)
    second = index.describe("d").identity
    index.close()
    index = _open(tmp_path)

    assert given.identity == index.describe("c").identity == "given"
    assert index.describe("d").identity == second
    assert len({first, "given", second}) == 3
    index.close()


def test_a_deleted_identity_is_never_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"embedder.index.storage.{FORGETTING[TESTED.name]}.MAX_DELETED", 2)
    index = _open(tmp_path)
    for name in ("old", "one", "two"):
        index.create("c", Spec(identity=name))
        index.delete("c")
    index.close()
    index = _open(tmp_path)
    for name in ("one", "two"):
        with pytest.raises(StaleCollection):
            index.create("c", Spec(identity=name))
        with pytest.raises(StaleCollection):
            index.upsert("c", POINTS, Spec(identity=name))
    with pytest.raises(UnknownCollection):
        index.describe("c")

    assert index.create("c", Spec(identity="old")).identity == "old"
    index.close()


def test_the_first_model_is_recorded_and_another_is_refused(tmp_path: Path) -> None:
    index = _open(tmp_path)
    index.upsert("c", POINTS, Spec(stored=A))
    identity = index.describe("c").identity
    index.upsert("c", POINTS, Spec(stored=RENAMED, identity=identity))
    index.upsert("c", POINTS)
    for wrong in (Spec(stored=B), Spec(stored=A, identity="other")):
        with pytest.raises(StaleCollection):
            index.upsert("c", POINTS, wrong)
        query = Query("c", VECTOR, 1, model=wrong.stored, identity=wrong.identity)
        with pytest.raises(StaleCollection):
            index.search([query])
    with pytest.raises(StaleCollection):
        index.record_model("c", identity, B)
    index.close()
    index = _open(tmp_path)
    info = index.describe("c")

    assert info.stored == A
    assert (info.sequence, index.search([Query("c", VECTOR, 1, model=A)])[0][0].id) == (3, "x")
    index.close()


def test_a_backup_keeps_the_model(tmp_path: Path) -> None:
    index = _open(tmp_path / "index")
    index.upsert("c", POINTS, Spec(stored=A))
    index.back_up("c", tmp_path / "copy")

    assert index.restore(tmp_path / "copy", "again").stored == A
    index.close()


Interrupt = Callable[[Callable[[VectorIndex], object]], VectorIndex]


@pytest.fixture
def restoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupt]:
    """Yield a function that opens an index with a backup, and sets what happens in a restore.

    It happens when all points are restored, and the collection has no name yet.
    """
    with closing(_open(tmp_path / "index")) as index:

        def interrupt(work: Callable[[VectorIndex], object]) -> VectorIndex:
            index.upsert("c", BACKED_UP, Spec(identity="old"))
            index.back_up("c", tmp_path / "copy")
            monkeypatch.setattr(lifecycle, "reach", lambda _: work(index))
            return index

        yield interrupt


BACKED_UP = Points(["x", "y"], np.eye(2, dtype=np.float32), ["x", "y"], [{}, {}])
NEW = Spec(identity="new", stored=A)


@pytest.mark.parametrize("replacing", [False, True])
def test_a_restore_keeps_what_a_service_has_created_and_written_meanwhile(
    restoring: Interrupt, tmp_path: Path, replacing: bool
) -> None:
    def complete(index: VectorIndex) -> None:
        # As a request does that finds the restored collection in another shard alone.
        index.delete("c", "old")
        index.create("c", NEW)
        index.upsert("c", replace(POINTS, texts=["newer"]), NEW)
        index.upsert("c", replace(POINTS, ids=["z"]), NEW)

    index = restoring(complete)
    if not replacing:
        index.delete("c")
    restored = index.restore(tmp_path / "copy", "c", "new", replacing)
    found = index.search([Query("c", VECTOR, 9, include=("text",))])[0]
    assert {hit.id: hit.text for hit in found} == {"x": "newer", "y": "y", "z": "text"}
    assert [hit.score for hit in found] == pytest.approx([1, 1, 0.5**0.5])
    index.close()
    with closing(_open(tmp_path / "index")) as again:
        assert again.describe("c").sequence == restored.sequence
        assert again.describe("c").stored == restored.stored == A
        assert again.deleted(["old", "new"]) == ["old"]


@pytest.mark.parametrize("replacing", [False, True])
def test_a_restore_begins_after_a_service_has_created_its_collection(
    restoring: Interrupt, tmp_path: Path, replacing: bool
) -> None:
    index = restoring(lambda _: None)
    index.delete("c")
    index.upsert("c", replace(POINTS, ids=["z"]), NEW)
    index.restore(tmp_path / "copy", "c", "new", replacing)

    assert {one.id for one in index.scroll("c").records} == {"x", "y", "z"}
    assert index.deleted(["new"]) == []


def test_a_restore_does_not_bring_back_a_collection_that_was_deleted_meanwhile(
    restoring: Interrupt, tmp_path: Path
) -> None:
    def delete(index: VectorIndex) -> None:
        index.delete("c", "old")
        index.create("c", NEW)
        index.delete("c")

    index = restoring(delete)
    with pytest.raises(StaleCollection):
        index.restore(tmp_path / "copy", "c", "new", True)
    with pytest.raises(UnknownCollection):
        index.describe("c")


def test_a_restore_refuses_another_collection_of_the_name_that_was_created_meanwhile(
    restoring: Interrupt, tmp_path: Path
) -> None:
    index = restoring(lambda index: index.create("again"))
    with pytest.raises(InvalidInput, match="exists already"):
        index.restore(tmp_path / "copy", "again", "new")
    assert index.count("again") == 0


def test_a_model_is_recorded_in_the_commit_that_creates_the_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(VectorIndex(background=False)) as index, ThreadPoolExecutor() as threads:
        store, begun, queued = index._shard.store, Event(), Semaphore(0)
        go_on, submit = Event(), store.submit

        def hold(_: object) -> Callable[[], None]:
            begun.set()
            go_on.wait()
            return lambda: None

        def submitting(*given: Any, **named: Any) -> Any:
            future = submit(*given, **named)
            queued.release()
            return future

        submit(hold)
        begun.wait()
        monkeypatch.setattr(store, "submit", submitting)
        made = threads.submit(index.create, "new", Spec(identity="1" * 32))
        queued.acquire()
        recorded = threads.submit(index.record_model, "new", "1" * 32, A)
        queued.acquire()
        go_on.set()

        assert made.result().identity == "1" * 32
        assert recorded.result().stored == A

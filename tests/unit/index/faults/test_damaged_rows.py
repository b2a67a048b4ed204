"""A collection with damaged rows is refused alone, and the error names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.points import Metric, Points, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.damaging import COUNTS, ROWS_OF
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, reopened, written
from tests.unit.index.places import PLACES, Place

CASES = [
    pytest.param(store, damage, id=f"{store}-{damage}")
    for store in PLACES
    for damage in ROWS_OF[store]
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return the place of a closed index with two collections, each of one saved segment."""
    return written(PLACES[request.param](tmp_path / "index"))


def _everything(index: VectorIndex) -> list[tuple[str, list[float], str | None, object]]:
    page = index.scroll("c", limit=1000, include=("vector", "text", "metadata"))
    return [
        (one.id, one.vector.tolist() if one.vector is not None else [], one.text, one.metadata)
        for one in page.records
    ]


@pytest.mark.parametrize("with_snapshots", [True, False])
@pytest.mark.parametrize(("store", "damage"), CASES)
def test_a_collection_with_damaged_rows_is_refused_alone_and_named_with_its_remedy(
    tmp_path: Path, store: str, damage: str, with_snapshots: bool, caplog: pytest.LogCaptureFixture
) -> None:
    place = written(PLACES[store](tmp_path / "index"))
    place.execute(ROWS_OF[store][damage])
    if not with_snapshots:
        shutil.rmtree(place.folder / "collections")
    index = reopened(place)
    for _ in range(3):
        with pytest.raises(StorageDamaged, match="'embedder index restore BACKUP c --replace'"):
            _everything(index)
    health, logged = index.health(), [one for one in caplog.records if one.levelname == "ERROR"]

    assert health.status == "degraded"
    assert "'embedder index restore BACKUP c --replace'" in str(health.problem)
    assert place.location not in str(health.problem)
    assert len(logged) == 1
    assert place.location in logged[0].getMessage()
    assert "'c'" in logged[0].getMessage()
    assert index.count("other") == COUNT
    assert index.upsert("other", Points(["a"], ROWS[:1], [None], [{}])) == 2
    index.close()


@pytest.mark.parametrize("damage", ["a text", "a vector", "a missing vector"])
def test_rows_that_are_damaged_while_they_are_served_close_their_collection(
    place: Place, damage: str
) -> None:
    index = reopened(place)
    place.execute(ROWS_OF[place.store][damage])
    for _ in range(2):
        with pytest.raises(StorageDamaged, match="'c' is damaged"):
            _everything(index)
    with pytest.raises(StorageDamaged, match="'c' is damaged"):
        index.delete_points("c", NAMES)

    assert index.health().status == "degraded"
    assert index.count("other") == COUNT
    assert index.upsert("other", Points(["a"], ROWS[:1], [None], [{}])) == 2
    index.close()


@pytest.mark.parametrize("store", PLACES)
def test_a_changed_row_of_a_collection_fails_the_shard(tmp_path: Path, store: str) -> None:
    place = written(PLACES[store](tmp_path / "index"))
    place.execute(COUNTS[store])
    index = reopened(place)

    assert index.health().status == "failed"
    with pytest.raises(StorageDamaged):
        _everything(index)
    with pytest.raises(StorageDamaged):
        index.upsert("other", Points(["a"], ROWS[:1], [None], [{}]))
    index.close()


def test_a_damaged_collection_can_be_deleted_or_restored_over(place: Place, tmp_path: Path) -> None:
    index = reopened(place)
    expected = _everything(index)
    index.back_up("c", tmp_path / "backup")
    index.close()
    place.execute(ROWS_OF[place.store]["missing points"])
    index = reopened(place)
    with pytest.raises(StorageDamaged):
        index.create("c", Spec(Metric.L2))
    with pytest.raises(StorageDamaged):
        index.delete_points("c", NAMES)
    with pytest.raises(InvalidInput, match="exists already"):
        index.restore(tmp_path / "backup")
    index.restore(tmp_path / "backup", replacing=True)

    assert index.health().status == "ready"
    assert _everything(index) == expected
    index.close()
    place.execute(ROWS_OF[place.store]["a text"])
    index = reopened(place)
    with pytest.raises(StorageDamaged):
        _everything(index)
    index.delete("c")
    assert index.create("c", Spec(Metric.L2)).count == 0
    index.close()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError(), OSError()])
def test_an_unexpected_error_while_reading_fails_one_call_only(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    index = reopened(place)
    expected = _everything(index)
    with monkeypatch.context() as patch:
        patch.setattr(f"embedder.index.storage.{place.store}.reading.check_payload", fail)
        with pytest.raises(type(error)):
            index.scroll("c")

    assert index.health().status == "ready"
    assert _everything(index) == expected
    index.close()


@pytest.mark.sqlite
def test_repeated_calls_to_a_failed_shard_do_not_grow_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "truth.db").write_bytes(b"x" * 8192)
    index = reopened(Place(tmp_path))
    depths = set()
    for _ in range(5):
        with pytest.raises(StorageDamaged) as raised:
            index.collections()
        depths.add(len(raised.traceback))

    assert len(depths) == 1
    index.close()

"""A collection with damaged rows is refused alone, and the error names it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.points import Metric, Points, Spec
from embedder.index.storage.sqlite import reading
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, reopened, written


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a closed index with two collections, each of one saved segment."""
    return written(tmp_path / "index")


def _everything(index: VectorIndex) -> list[tuple[str, list[float], str | None, object]]:
    page = index.scroll("c", limit=1000, include=("vector", "text", "metadata"))
    return [
        (one.id, one.vector.tolist() if one.vector is not None else [], one.text, one.metadata)
        for one in page.records
    ]


def _change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "truth.db") as db:
        db.execute(statement)
    db.close()


FIRST = "(SELECT id FROM collections WHERE name = 'c')"
TORN = {
    "a text": f"UPDATE points SET text = 'other' WHERE collection = {FIRST}",
    "no text": f"UPDATE points SET text = CAST(x'ff' AS TEXT) WHERE collection = {FIRST}",
    "a number that is none": f"UPDATE points SET seq = 'x' WHERE collection = {FIRST}",
    "a vector": f"UPDATE vectors SET vector = zeroblob(16) WHERE pk <= {COUNT}",
    "a vector that is none": f"UPDATE vectors SET vector = 'x' WHERE pk <= {COUNT}",
    "a missing vector": f"DELETE FROM vectors WHERE pk = {COUNT}",
    "missing points": f"DELETE FROM points WHERE collection = {FIRST} AND pk > 5",
}


@pytest.mark.parametrize("with_snapshots", [True, False])
@pytest.mark.parametrize("statement", TORN.values(), ids=TORN)
def test_a_collection_with_damaged_rows_is_refused_alone_and_named_with_its_remedy(
    directory: Path, statement: str, with_snapshots: bool, caplog: pytest.LogCaptureFixture
) -> None:
    _change(directory, statement)
    if not with_snapshots:
        shutil.rmtree(directory / "collections")
    index = reopened(directory)
    for _ in range(3):
        with pytest.raises(StorageDamaged, match="'embedder index restore BACKUP c --replace'"):
            _everything(index)
    health, logged = index.health(), [one for one in caplog.records if one.levelname == "ERROR"]

    assert health.status == "degraded"
    assert "'embedder index restore BACKUP c --replace'" in str(health.problem)
    assert str(directory) not in str(health.problem)
    assert len(logged) == 1
    assert f"{directory}/truth.db" in logged[0].getMessage()
    assert "'c'" in logged[0].getMessage()
    assert index.count("other") == COUNT
    assert index.upsert("other", Points(["a"], ROWS[:1], [None], [{}])) == 2
    index.close()


def test_a_damaged_collection_can_be_deleted_or_restored_over(
    directory: Path, tmp_path: Path
) -> None:
    index = reopened(directory)
    expected = _everything(index)
    index.back_up("c", tmp_path / "backup")
    index.close()
    _change(directory, TORN["missing points"])
    index = reopened(directory)
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
    _change(directory, "UPDATE points SET text = 'other'")
    index = reopened(directory)
    with pytest.raises(StorageDamaged):
        _everything(index)
    index.delete("c")
    assert index.create("c", Spec(Metric.L2)).count == 0
    index.close()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError(), OSError()])
def test_an_unexpected_error_while_reading_fails_one_call_only(
    directory: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    index = reopened(directory)
    expected = _everything(index)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "check_payload", fail)
        with pytest.raises(type(error)):
            index.scroll("c")

    assert index.health().status == "ready"
    assert _everything(index) == expected
    index.close()


def test_repeated_calls_to_a_failed_shard_do_not_grow_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "truth.db").write_bytes(b"x" * 8192)
    index = reopened(tmp_path)
    depths = set()
    for _ in range(5):
        with pytest.raises(StorageDamaged) as raised:
            index.collections()
        depths.add(len(raised.traceback))

    assert len(depths) == 1
    index.close()

"""A backup holds one moment of a collection, complete or absent; any name can be restored."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from embedder.core.errors import InvalidInput, MissingExtra, UnknownCollection
from embedder.core.storage_errors import BadBackup, NotWritten
from embedder.index.backup import FORMAT, MANIFEST, POINTS, read_manifest
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Record, Spec
from embedder.index.storage import failpoints
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import ALL_FIELDS, small_settings

pytestmark = pytest.mark.every_store

COUNT, WIDTH = 60, 4
ROWS = np.random.default_rng(5).normal(0, 1, (COUNT, WIDTH)).astype(np.float32)
NAMES = [f"p{number}" for number in range(COUNT)]
TEXTS = [None if number % 3 else f"text {number} é🙂" for number in range(COUNT)]
METADATA = [{"n": number, "deep": {"list": [None, True]}} for number in range(COUNT)]


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    index = VectorIndex(small_settings(tmp_path / "index"), background=False)
    index.create("c", Spec(Metric.L1, kind=IndexKind.HNSW, model="m"))
    index.upsert("c", Points(NAMES, ROWS, TEXTS, METADATA))
    index.delete_points("c", NAMES[::7])
    index.upsert("c", Points(NAMES[3:4], ROWS[3:4], ["again"], [{}]))
    return index


def _all(index: VectorIndex, name: str) -> list[tuple[str, object, object, object]]:
    def flat(one: Record) -> tuple[str, object, object, object]:
        assert one.vector is not None
        return one.id, one.vector.tolist(), one.text, one.metadata

    page = index.scroll(name, limit=1000, include=ALL_FIELDS)
    return [flat(one) for one in page.records]


def test_a_backup_is_restored_under_another_name_with_equal_points(
    index: VectorIndex, tmp_path: Path
) -> None:
    copied = index.back_up("c", tmp_path / "copies" / "one")
    manifest = read_manifest(tmp_path / "copies" / "one")
    info = index.restore(tmp_path / "copies" / "one", "again")
    before = index.describe("c")

    assert (manifest.name, manifest.sequence, manifest.count) == ("c", 3, before.count)
    assert copied == before.count
    assert (info.name, info.metric, info.kind, info.model) == ("again", Metric.L1, "hnsw", "m")
    assert _all(index, "again") == _all(index, "c")
    query = ROWS[11]
    assert index.search([Query("again", query, 99)]) == index.search([Query("c", query, 99)])
    index.upsert("again", Points(["new"], ROWS[:1], [None], [{}]))
    assert index.count("again") == before.count + 1
    index.close()


def test_a_backup_restored_into_another_index_survives_a_restart(
    index: VectorIndex, tmp_path: Path
) -> None:
    index.back_up("c", tmp_path / "copy")
    expected = _all(index, "c")
    index.close()
    other = VectorIndex(small_settings(tmp_path / "other"), background=False)
    other.restore(tmp_path / "copy")
    other.close()
    other = VectorIndex(small_settings(tmp_path / "other"), background=False)

    assert _all(other, "c") == expected
    other.close()


def test_a_backup_during_writes_holds_one_moment(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path / "index"))
    versions = 1

    def write() -> None:
        nonlocal versions
        while not stop.is_set():
            versions += 1
            text = [str(versions)] * COUNT
            index.upsert("c", Points(NAMES, ROWS * versions, text, [{}] * COUNT))

    stop, writer = threading.Event(), threading.Thread(target=write)
    index.upsert("c", Points(NAMES, ROWS, ["1"] * COUNT, [{}] * COUNT))
    writer.start()
    for turn in range(4):
        index.back_up("c", tmp_path / f"copy-{turn}")
    manifests = [read_manifest(tmp_path / f"copy-{turn}") for turn in range(4)]
    stop.set()
    writer.join()
    for turn, manifest in enumerate(manifests):
        index.restore(tmp_path / f"copy-{turn}", f"again-{turn}")
        kept = _all(index, f"again-{turn}")

        # The text is the version, which equals the sequence number of its write.
        assert {text for _, _, text, _ in kept} == {str(manifest.sequence)}
        assert len(kept) == COUNT
    index.close()


def _flip(folder: Path) -> None:
    data = bytearray((folder / POINTS).read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 4
    (folder / POINTS).write_bytes(data)


def _cut(folder: Path) -> None:
    (folder / POINTS).write_bytes((folder / POINTS).read_bytes()[:-1])


def _lose_the_points(folder: Path) -> None:
    (folder / POINTS).unlink()


def _lose_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _link(folder: Path) -> None:
    (folder / POINTS).rename(folder / "elsewhere")
    (folder / POINTS).symlink_to(folder / "elsewhere")


def _change(folder: Path, **changed: object) -> None:
    told = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(told | changed))


def _newer(folder: Path) -> None:
    _change(folder, format=FORMAT + 1)


def _unknown_field(folder: Path) -> None:
    _change(folder, extra=1)


def _fewer(folder: Path) -> None:
    _change(folder, count=1)


@pytest.mark.parametrize(
    "damage",
    [_flip, _cut, _lose_the_points, _lose_the_manifest, _link, _newer, _unknown_field, _fewer],
)
def test_a_damaged_backup_is_refused_and_nothing_of_it_is_kept(
    index: VectorIndex, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    index.back_up("c", tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(BadBackup):
        index.restore(tmp_path / "copy", "again")

    assert [info.name for info in index.collections()] == ["c"]
    assert index.stats().status == "ready"
    index.close()


def test_existing_names_and_paths_are_refused(index: VectorIndex, tmp_path: Path) -> None:
    index.back_up("c", tmp_path / "copy")
    with pytest.raises(NotWritten, match="exists already"):
        index.back_up("c", tmp_path / "copy")
    with pytest.raises(InvalidInput, match="exists already"):
        index.restore(tmp_path / "copy")
    with pytest.raises(InvalidInput, match="begin with a letter"):
        index.restore(tmp_path / "copy", "../c")
    with pytest.raises(UnknownCollection):
        index.back_up("missing", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    index.close()


def test_a_backup_without_space_leaves_nothing(index: VectorIndex, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    failpoints.arm("backup.before_publish:enospc")
    try:
        with pytest.raises(NotWritten, match=r"copy cannot be written: .*fail point"):
            index.back_up("c", tmp_path / "copy")
    finally:
        failpoints.arm(None)

    assert sorted(tmp_path.iterdir()) == before
    index.close()


def test_an_empty_collection_is_backed_up(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(), background=False)
    index.create("c", Spec(Metric.DOT))
    index.back_up("c", tmp_path / "copy")

    assert index.restore(tmp_path / "copy", "again").width is None
    index.close()


def test_a_parquet_file_has_every_point(index: VectorIndex, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    count = index.export("c", path)
    table = pyarrow.parquet.read_table(path)
    with pytest.raises(NotWritten, match="exists already"):
        index.export("c", path)

    assert [str(field.type) for field in table.schema] == [
        "string",
        f"fixed_size_list<element: float>[{WIDTH}]",
        "string",
        "string",
    ]
    assert [
        (one["id"], one["vector"], one["text"], json.loads(one["metadata"]))
        for one in table.to_pylist()
    ] == _all(index, "c")
    assert count == len(table)
    index.close()


def test_without_pyarrow_the_export_names_the_missing_extra(
    index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match="parquet"):
        index.export("c", tmp_path / "c.parquet")
    index.close()

"""A damaged file: the store opens, yields no wrong record, and accepts new ones."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from embedder.cache.store.sqlite_store import SqliteStore
from embedder.core.entries.blobs import RAGGED
from embedder.core.errors import StageUnavailable
from tests.unit.cache.known import Row, by_key, records

COUNT = 600
WIDTH = 48
PARTS = [
    records(range(first, first + 100), WIDTH if first % 200 else RAGGED)
    for first in range(0, COUNT, 100)
]
WHOLE = by_key(PARTS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a closed file, and in ``open`` a copy that was not closed."""
    folder = tmp_path_factory.mktemp("sound")
    store = SqliteStore(folder / "a.sqlite", clock=lambda: 1_700_000_000.0)
    store.open()
    for part in PARTS:
        store.put_many(part)
    shutil.copytree(folder, folder / "open")
    store.close()
    return folder


def _again(store: SqliteStore, work: Callable[[], None]) -> None:
    """Do some work; retry it once after damage is found, with a new file."""
    try:
        work()
    except StageUnavailable:
        assert not store.is_open
        store.open()
        work()
        assert store.stats.renamed_files == 1


def _read(path: Path) -> tuple[dict[bytes, Row], SqliteStore]:
    """Open a file and load it."""
    store = SqliteStore(path)
    found: dict[bytes, Row] = {}

    def load() -> None:
        for given in store.load():
            found.update(by_key([given]))

    _again(store, store.open)
    _again(store, load)
    return found, store


def _survives(path: Path) -> tuple[int, SqliteStore]:
    """Check that a file yields no wrong record and works; return the number of records."""
    found, store = _read(path)
    assert {name: WHOLE[name] for name in found} == found
    new = records([5000], WIDTH)

    def go_on() -> None:
        store.put_many(new)
        assert by_key(store.load()).items() >= by_key([new]).items()

    _again(store, go_on)
    return len(found), store


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("left", ["closed", "open"])
def test_flipped_bits_give_no_wrong_rows(sound: Path, tmp_path: Path, seed: int, left: str) -> None:
    source = sound / "a.sqlite" if left == "closed" else sound / "open" / "a.sqlite-wal"
    content = source.read_bytes()
    places = random.Random(seed)
    noticed = 0
    for number in range(16):
        folder = tmp_path / str(number)
        folder.mkdir()
        if left == "open":
            shutil.copy(sound / "open" / "a.sqlite", folder)
        damaged = bytearray(content)
        damaged[places.randrange(len(damaged))] ^= 1 << places.randrange(8)
        (folder / source.name).write_bytes(damaged)

        count, store = _survives(folder / "a.sqlite")

        noticed += count < COUNT
        store.close()
    assert noticed > 0


def test_a_truncated_file_gives_no_wrong_records(sound: Path, tmp_path: Path) -> None:
    content = (sound / "a.sqlite").read_bytes()
    for length in [*range(0, len(content), 4096), 1, 15, 16, 99, 100, 511, 512, len(content) - 1]:
        path = tmp_path / "a.sqlite"
        path.write_bytes(content[:length])

        count, store = _survives(path)

        assert count == 0 or length == len(content) - 1
        assert store.stats.renamed_files == (0 < length < len(content) - 1)
        store.close()


def test_a_log_cut_off_anywhere_gives_back_what_was_committed_before(
    sound: Path, tmp_path: Path
) -> None:
    log = (sound / "open" / "a.sqlite-wal").read_bytes()
    former = 0
    for length in sorted(
        [*range(0, len(log), 4096), *random.Random(0).sample(range(len(log)), 40)]
    ):
        path = tmp_path / "a.sqlite"
        shutil.copy(sound / "open" / "a.sqlite", path)
        Path(f"{path}-wal").write_bytes(log[:length])

        found, store = _read(path)

        assert set(found) == set(by_key([records(range(len(found)), WIDTH)]))
        assert {name: WHOLE[name] for name in found} == found
        assert len(found) % 100 == 0
        assert len(found) >= former
        assert store.stats.renamed_files == 0
        former = len(found)
        store.close()
        path.unlink()
    assert former > 0


def test_a_damaged_row_is_counted_and_the_rest_is_read(sound: Path, tmp_path: Path) -> None:
    content = bytearray((sound / "a.sqlite").read_bytes())
    at = content.index(records([300], WIDTH).entries.vectors.tobytes())
    content[at] ^= 1
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)

    count, store = _survives(path)

    assert count == COUNT - 1
    assert store.stats.corrupt == 2  # once by each of the two loads
    assert store.stats.renamed_files == 0
    store.close()


def test_an_unreadable_folder_does_not_stop_the_service(sound: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    shutil.copy(sound / "a.sqlite", tmp_path / "a.sqlite")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StageUnavailable):
            SqliteStore(tmp_path / "a.sqlite").open()
    finally:
        tmp_path.chmod(0o700)


def test_a_damaged_purge_record_renames_the_file(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound / "a.sqlite", tmp_path / "a.sqlite")
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection, connection:
        connection.execute("INSERT INTO purged VALUES (?, ?)", (b"tag", b"no number"))

    count, store = _survives(tmp_path / "a.sqlite")

    assert (count, store.stats.renamed_files) == (0, 1)
    store.close()

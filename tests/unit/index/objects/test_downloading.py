"""Which objects are downloaded, and what a slow object store or a full disk does to a start."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.objects import downloading
from embedder.index.objects.downloading import choose
from embedder.index.objects.object_name import ObjectName
from embedder.index.objects.object_store import ObjectStore
from tests.unit.index.objects.replica import COUNT, Replica, nearest, on_empty_node

PKS = st.sets(st.integers(0, 30), min_size=1)


@given(st.lists(st.tuples(st.integers(0, 5), PKS), max_size=8), st.lists(PKS, max_size=3))
def test_an_object_is_chosen_if_half_of_its_points_are_in_no_newer_one(
    objects: list[tuple[int, set[int]]], held: list[set[int]]
) -> None:
    names = {
        ObjectName("c", "h", sequence, len(pks), str(number)): pks
        for number, (sequence, pks) in enumerate(objects)
    }
    order = sorted(names, key=lambda name: (-name.sequence, -name.size))
    expected, known = [], set().union(*held)
    for name in order:
        if 2 * len(names[name] - known) >= len(names[name]):
            expected.append(name)
            known |= names[name]

    arrays = {name: np.array(sorted(pks), np.int64) for name, pks in names.items()}
    chosen = choose(arrays, [np.array(sorted(one), np.int64) for one in held])

    assert chosen == expected


@pytest.fixture
def saved(tmp_path: Path, url: str) -> Replica:
    """Return a closed replica that has uploaded all points of two collections."""
    (tmp_path / "first").mkdir()
    replica = Replica(tmp_path / "first", url)
    replica.put()
    replica.put(name="other")
    replica.uploads.run()
    replica.close()
    return replica


def test_a_start_does_not_wait_for_a_store_that_does_not_answer(
    saved: Replica,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    released, left = threading.Event(), list[threading.Thread]()

    def hang(*_: object) -> dict[str, int]:
        left.append(threading.current_thread())
        released.wait()
        return {}

    monkeypatch.setattr(ObjectStore, "find", hang)
    monkeypatch.setattr(downloading, "PATIENCE_S", 0.0)
    second = Replica(on_empty_node(saved, tmp_path / "second"), url)

    assert (second.read, second.found()) == (2 * COUNT, nearest())
    assert len(left) == 1
    assert "snapshots of c are not downloaded: it takes too long" in caplog.text
    second.close()
    released.set()
    for thread in left:
        thread.join()


def test_a_start_does_not_fail_with_the_object_store(
    saved: Replica, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsspec.spec.AbstractFileSystem.cat_ranges", None)
    second = Replica(on_empty_node(saved, tmp_path / "second"), url)

    assert second.objects.failures == 1
    assert (second.read, second.found()) == (2 * COUNT, nearest())
    second.close()


@pytest.mark.parametrize("call", ["create", "make_folder"])
def test_a_start_does_not_fail_with_a_disk_that_takes_no_snapshot(
    call: str,
    saved: Replica,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloading, call, refuse)
    with caplog.at_level(logging.WARNING):
        second = Replica(on_empty_node(saved, tmp_path / "second"), url)

    assert "No space left on device" in caplog.text
    assert (second.read, second.found()) == (2 * COUNT, nearest())
    second.close()


def test_few_missing_points_are_read_from_the_store_alone(
    saved: Replica, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.index.objects.replica.RECOVERY_S", 5.0)
    monkeypatch.setattr(ObjectStore, "find", None)
    second = Replica(on_empty_node(saved, tmp_path / "second"), url)

    assert (second.read, second.found()) == (2 * COUNT, nearest())
    second.close()

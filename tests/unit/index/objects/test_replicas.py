"""A replica on an empty node starts from the snapshots that another one has uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.index.objects.object_store import ObjectStore, ObjectStoreFailed
from embedder.index.objects.uploading import GRACE_S
from tests.unit.index.objects.replica import COUNT, Replica, nearest, on_empty_node, restarted
from tests.unit.index.small_index import save


def test_an_empty_node_downloads_what_was_saved_and_reads_the_rest(
    replica: Replica, url: str, tmp_path: Path
) -> None:
    replica.put(0, 30)
    replica.uploads.run()
    replica.put(30, 10)
    assert len(replica.stored()) == 1

    second = restarted(replica, tmp_path / "second", url)

    assert second.found() == nearest()
    assert second.read == 10
    second.close()


def test_nothing_is_downloaded_if_the_node_has_the_snapshots(replica: Replica, url: str) -> None:
    replica.put()
    replica.uploads.run()
    replica.close()
    files = sorted(replica.folder.rglob("*.snap"))

    again = Replica(replica.folder, url)

    assert sorted(replica.folder.rglob("*.snap")) == files
    assert (again.read, again.found()) == (0, nearest())
    again.close()


def test_a_downloaded_snapshot_is_not_uploaded_again(
    replica: Replica, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.put()
    replica.uploads.run()
    stored = replica.stored()
    second = restarted(replica, tmp_path / "second", url)
    monkeypatch.setattr(second.objects, "put", None)
    second.uploads.run()

    assert second.stored() == stored
    second.close()


def test_merged_segments_are_not_downloaded(replica: Replica, url: str, tmp_path: Path) -> None:
    for first in range(0, COUNT, 10):
        replica.put(first, 10)
    replica.uploads.run()
    replica.merge()
    replica.uploads.run()
    assert len(replica.stored()) == 5

    second = restarted(replica, tmp_path / "second", url)

    assert len(list(second.folder.rglob("*.snap"))) == 1
    assert (second.read, second.found()) == (0, nearest())
    second.close()


def test_a_replica_that_does_not_upload_changes_nothing(replica: Replica) -> None:
    replica.put()
    replica.leads = False
    replica.uploads.run()

    assert replica.stored() == []
    replica.close()


def test_an_object_that_disappears_while_it_is_read_is_not_an_error(
    replica: Replica, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.put(0, 20)
    replica.put(20, 20)
    replica.uploads.run()
    replica.close()
    gone = replica.stored()[0]
    find = type(replica.objects).find

    def find_too_early(store: object, below: str = "") -> dict[str, int]:
        found = find(replica.objects, below)
        replica.objects.remove(gone)
        return found

    monkeypatch.setattr(type(replica.objects), "find", find_too_early)
    second = Replica(on_empty_node(replica, tmp_path / "second"), url)

    assert (second.read, second.found()) == (20, nearest())
    assert (second.downloads.damaged, second.objects.failures) == (0, 0)
    second.close()


@pytest.mark.parametrize("is_stored", [False, True])
def test_an_interrupted_run_is_finished_by_the_next(
    is_stored: bool, replica: Replica, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(0, COUNT, 10):
        replica.put(first, 10)
    put, calls = ObjectStore.put, list[str]()

    def interrupted(store: ObjectStore, path: Path, name: str) -> None:
        calls.append(name)
        if len(calls) < 3 or is_stored:
            put(store, path, name)
        if len(calls) == 3:
            raise ObjectStoreFailed("store a snapshot")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put", interrupted)
        with pytest.raises(ObjectStoreFailed):
            replica.uploads.run()
    assert len(replica.stored()) == 2 + is_stored
    replica.uploads.run()
    assert len(replica.stored()) == 4

    second = restarted(replica, tmp_path / "second", url)
    assert (second.read, second.found()) == (0, nearest())
    second.close()


def test_objects_of_another_history_are_not_used_but_replaced(
    replica: Replica, url: str, tmp_path: Path
) -> None:
    replica.put()
    replica.history = "two"
    replica.uploads.run()
    second = restarted(replica, tmp_path / "second", url)
    assert (second.read, second.found()) == (COUNT, nearest())
    save(second.index, "c")
    second.uploads.run()
    assert len(second.stored()) == 2

    third = restarted(second, tmp_path / "third", url)
    assert (third.read, third.found()) == (0, nearest())
    third.uploads.run()
    third.now = GRACE_S
    third.uploads.run()
    assert len(third.stored()) == 1
    third.close()


def test_a_new_history_uploads_the_same_segments_again(replica: Replica) -> None:
    replica.put()
    for history in ("one", "two", "two"):
        replica.history = history
        replica.uploads.run()

    assert len(replica.stored()) == 2
    replica.close()

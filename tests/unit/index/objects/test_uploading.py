"""The thread that uploads: it goes on after failures, and a close does not wait for a slow one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from embedder.index.objects import uploading
from embedder.index.objects.object_store import ObjectStore, ObjectStoreFailed
from embedder.index.objects.uploading import LIST_S, Uploads
from tests.unit.index.objects.replica import Replica


def test_the_thread_goes_on_after_any_failure(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [ObjectStoreFailed("x"), RuntimeError("unexpected")]
    finished = threading.Event()

    def run(uploads: Uploads) -> None:
        if errors:
            raise errors.pop(0)
        finished.set()
        uploads._stop.set()

    monkeypatch.setattr(uploading, "INTERVAL_S", 0.0)
    monkeypatch.setattr(Uploads, "run", run)
    replica.uploads.start()

    assert finished.wait(60)
    replica.uploads.close()
    assert [one.message for one in caplog.records] == [
        "snapshots could not be uploaded; trying again"
    ]
    replica.close()


def test_a_close_starts_no_other_upload_and_does_not_wait_long(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()
    put = list[str]()

    def hang(_: ObjectStore, __: Path, name: str) -> None:
        put.append(name)
        begun.set()
        released.wait()

    monkeypatch.setattr(ObjectStore, "put", hang)
    monkeypatch.setattr(uploading, "INTERVAL_S", 0.0)
    monkeypatch.setattr(uploading, "CLOSE_S", 0.0)
    replica.put(0, 20)
    replica.put(20, 20)
    replica.uploads.start()
    assert begun.wait(60)
    replica.uploads.close()
    released.set()
    replica.uploads._thread.join()

    assert len(put) == 1
    replica.close()


def test_nothing_is_asked_of_the_object_store_until_something_is_saved_or_time_passes(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.put(0, 20)
    replica.uploads.run()
    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "find", None)
        replica.uploads.run()
    (name,) = replica.stored()
    replica.objects.remove(name)
    replica.now = LIST_S
    replica.uploads.run()

    assert replica.stored() == [name]
    replica.close()


def test_a_failed_upload_is_repeated_by_the_next_run(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.put()
    files = replica.objects._files
    with monkeypatch.context() as patched:
        patched.setattr(type(files), "put_file", None)
        for _ in range(2):
            with pytest.raises(ObjectStoreFailed):
                replica.uploads.run()
    replica.uploads.run()

    assert replica.objects.failures == 2
    assert len(replica.stored()) == 1
    replica.close()


def test_a_segment_that_was_merged_meanwhile_is_skipped(replica: Replica) -> None:
    replica.put(0, 20)
    for path in replica.folder.rglob("*.snap"):
        path.unlink()
    replica.put(20, 20)
    replica.uploads.run()

    assert len(replica.stored()) == 1
    replica.close()

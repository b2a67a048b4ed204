"""Failures of an object store are counted and logged once, without paths and credentials."""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedder.core.errors import ConfigurationError, MissingExtra
from embedder.index.objects import object_store
from embedder.index.objects.object_store import ObjectStore, ObjectStoreFailed

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def store(url: str) -> ObjectStore:
    """Return an empty object store."""
    return ObjectStore(url, "folder")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file to upload."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


class _Broken:
    """A driver whose calls fail with a message that no log may contain."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: object, **__: object) -> None:
            raise PermissionError("horse") from RuntimeError("horse")

        return fail


def test_objects_are_stored_found_read_and_removed(
    store: ObjectStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "PART_BYTES", 1000)
    assert store.find() == {}
    for name in ("a/x", "b/y"):
        store.put(file, name)

    assert store.find() == {"a/x": len(CONTENT), "b/y": len(CONTENT)}
    assert store.find("a") == {"a/x": len(CONTENT)}
    assert store.find("c") == {}
    assert store.read(["a/x", "none", "b/y"], [0, 0, 5], [3, 3, 9]) == [
        CONTENT[:3],
        None,
        CONTENT[5:9],
    ]
    assert b"".join(store.blocks("a/x", len(CONTENT))) == CONTENT
    assert list(store.blocks("none", len(CONTENT))) == []
    store.remove("a/x")
    store.remove("a/x")
    assert store.find() == {"b/y": len(CONTENT)}
    assert store.failures == 0


def test_a_file_that_is_gone_is_not_uploaded(store: ObjectStore, tmp_path: Path) -> None:
    store.put(tmp_path / "none", "a/x")

    assert store.find() == {}
    assert store.failures == 0


def test_only_the_owner_reads_the_objects_of_a_file_system(tmp_path: Path, file: Path) -> None:
    ObjectStore(f"file://{tmp_path}/objects", "database").put(file, "a/x")

    for folder in ("objects", "objects/database", "objects/database/a"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_an_outage_is_logged_at_its_beginning_and_end_and_each_failure_counts(
    store: ObjectStore, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Callable[[], object]] = [
        store.find,
        lambda: store.read(["a"], [0], [1]),
        lambda: list(store.blocks("a", 1)),
        lambda: store.put(file, "a"),
        lambda: store.remove("a"),
    ]
    files, store._files = store._files, _Broken()
    for number, call in enumerate(calls, 1):
        with pytest.raises(ObjectStoreFailed) as caught:
            call()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert store.failures == number
    assert [one.message for one in caplog.records] == [
        "the object store of index.snapshots failed to list snapshots "
        "(PermissionError from RuntimeError); the index works without it"
    ]
    store._files = files
    store.find()
    store.find()

    assert [one.message for one in caplog.records[1:]] == [
        "the object store of index.snapshots answers again"
    ]
    assert "horse" not in caplog.text


def test_a_failed_part_fails_the_read(store: ObjectStore) -> None:
    class Partly:
        def cat_ranges(self, *_: object, **__: object) -> list[object]:
            return [b"a", TimeoutError("horse")]

    store._files = Partly()

    with pytest.raises(ObjectStoreFailed):
        store.read(["a", "a"], [0, 1], [1, 2])


@pytest.mark.parametrize(
    ("url", "driver"), [("s3://bucket", "s3fs"), ("gs://bucket", "gcsfs"), ("az://c", "adlfs")]
)
def test_a_missing_driver_is_named(url: str, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ConfigurationError) as caught:
        ObjectStore(url, "folder")

    scheme = url.partition(":")[0]
    assert str(caught.value) == (
        f"index.snapshots of {scheme}:// needs {driver}, which is not installed: "
        f"pip install {driver}"
    )


def test_fsspec_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"index\.snapshots needs fsspec.*embedder\[snapshots\]"):
        ObjectStore("memory://x", "folder")


def test_a_driver_that_refuses_its_configuration_is_reported_without_its_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fsspec.url_to_fs", _Broken().anything)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError) as caught:
        ObjectStore("memory://x", "folder")

    assert "PermissionError from RuntimeError" in str(caught.value)
    assert "horse" not in str(caught.value) + caplog.text

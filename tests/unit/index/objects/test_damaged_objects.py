"""A damaged object is not loaded, and the replica that uploads stores it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.index.faults.saved_index import flipped
from tests.unit.index.objects.replica import COUNT, Replica, nearest, on_empty_node


def _flip_the_last_bit(data: bytes) -> bytes:
    return flipped(data, 8 * len(data) - 1)


def _flip_a_vector(data: bytes) -> bytes:
    return flipped(data, 8 * len(data) - 999)


def _flip_the_header(data: bytes) -> bytes:
    return flipped(data, 300)


def _flip_a_pk(data: bytes) -> bytes:
    return flipped(data, 8 * 1024 + 3)


def _cut(data: bytes) -> bytes:
    return data[:-1]


def _cut_the_header(data: bytes) -> bytes:
    return data[:100]


def _empty(_: bytes) -> bytes:
    return b""


def _zeros(data: bytes) -> bytes:
    return bytes(len(data))


@pytest.mark.parametrize(
    "damage",
    [
        *(_flip_the_last_bit, _flip_a_vector, _flip_the_header, _flip_a_pk),
        *(_cut, _cut_the_header, _empty, _zeros),
    ],
)
def test_a_damaged_object_is_not_loaded_but_stored_again(
    damage: Callable[[bytes], bytes],
    replica: Replica,
    url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    replica.put()
    replica.uploads.run()
    (name,) = replica.stored()
    sound = replica.objects._files.cat_file(replica.objects._path(name))
    replica.objects._files.pipe_file(replica.objects._path(name), damage(sound))
    replica.close()
    with caplog.at_level(logging.WARNING):
        second = Replica(on_empty_node(replica, tmp_path / "second"), url)

    assert second.downloads.damaged == 1
    assert len([one for one in caplog.records if "is not used" in one.message]) == 1
    assert (second.read, second.found()) == (COUNT, nearest())
    assert list(second.folder.rglob("*.snap")) == list(second.folder.rglob("*.tmp")) == []
    second.close()

    first = Replica(replica.folder, url)
    first.uploads.run()
    assert first.stored() == [name]
    assert first.objects._files.cat_file(first.objects._path(name)) == sound
    first.close()

"""Copies between stores and numbers of shards are complete and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.core.storage_errors import StorageDamaged
from embedder.index import sharding
from embedder.index.contract.points import Spec
from embedder.index.offline.copying import PREFIX, Copy, Part, free_identity, run_copy
from tests.unit.index.offline.shards import SPEC, Shards, copy, existing


@pytest.mark.parametrize("shards", [1, 3])
def test_a_copy_has_the_points_the_identity_and_the_model(
    source: Shards, open_target: Callable[..., Shards], shards: int
) -> None:
    told: list[int] = []
    target = open_target(shards)
    before = (source.content(), source.rows())

    assert copy(source, target.stores, told.append) == 23
    assert target.content() == source.content()
    assert (source.content(), source.rows()) == before
    assert sum(told) == 46
    for row in target.rows():
        assert row is not None
        assert row.spec == replace(SPEC, width=3)
    assert target.rows(PREFIX + "c") == [None] * shards
    assert copy(source, target.stores) == 23, "a finished copy is verified again"


def test_an_empty_collection_is_copied(source: Shards, open_target: Callable[..., Shards]) -> None:
    source.delete(list(source.content()))
    target = open_target()

    assert copy(source, target.stores) == 0
    assert target.content() == {}
    assert {row.spec for row in target.rows() if row} == {replace(SPEC, width=3)}


def test_another_collection_of_the_name_is_refused_before_anything_is_written(
    source: Shards, open_target: Callable[..., Shards]
) -> None:
    target = open_target()
    target.put(["mine"], spec=Spec(identity="other"))

    with pytest.raises(InvalidInput, match="'c' exists already"):
        copy(source, target.stores)
    assert list(target.content()) == ["mine"]
    assert target.rows(PREFIX + "c") == [None] * 3


def test_a_replacing_copy_takes_the_place_of_a_collection(
    source: Shards, open_target: Callable[..., Shards]
) -> None:
    target = open_target()
    target.put(["mine"], spec=Spec(identity="other"))
    copy(source, target.stores, replacing=True, identity="new")

    assert target.content() == source.content()
    for store in target.stores:
        with store.reader.snapshot() as rows:
            assert rows.deleted_among(["other", "one", "new"]) == ["other"]


def test_a_copy_that_differs_is_discarded(
    source: Shards, open_target: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_target()
    owners = sharding.rows_by_shard

    def losing(ids: list[str], shards: int) -> dict[int, list[int]]:
        return {one: rows[1:] for one, rows in owners(ids, shards).items()}

    monkeypatch.setattr(sharding, "rows_by_shard", losing)
    with pytest.raises(ConfigurationError, match=r"'c' has 23 points .*discarded"):
        copy(source, target.stores)
    monkeypatch.undo()
    assert target.rows() == target.rows(PREFIX + "c") == [None] * 3
    copy(source, target.stores)
    assert target.content() == source.content()


def test_a_finished_copy_that_was_changed_is_refused(
    source: Shards, open_target: Callable[..., Shards]
) -> None:
    target = open_target()
    copy(source, target.stores)
    target.delete(["p7"])

    with pytest.raises(ConfigurationError, match=r"23 points .* and 22 .* delete it in the target"):
        copy(source, target.stores)
    assert len(target.content()) == 22


def test_a_deleted_copy_can_be_made_again(
    source: Shards, open_target: Callable[..., Shards]
) -> None:
    target = open_target()
    identities = []
    for _ in range(3):
        identity = free_identity("one", target.stores)
        copy(source, target.stores, identity=identity)
        identities.append(identity)
        target.drop()

    assert identities[0] == "one"
    assert len({*identities, free_identity("one", target.stores)}) == 4


def test_damage_of_the_source_stops_the_copy(
    source: Shards, open_target: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_target()
    part = _found_part(source)
    damaged = Part(replace(part.row, count=part.row.count + 1), part.chunks)

    def chunks() -> Iterator[Any]:
        yield from part.chunks()
        raise StorageDamaged("path", "points are missing", "c")

    with pytest.raises(StorageDamaged):
        run_copy(Copy([replace(damaged, chunks=chunks)], "c", "one"), target.stores, lambda _: None)
    assert target.rows() == [None] * 3


def _found_part(source: Shards) -> Part:
    with source.stores[0].reader.snapshot() as rows:
        row = existing(rows, "c")
        chunks = list(rows.scan(row))
    return Part(row, lambda: iter(chunks))


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_points_arrive_in_the_order_of_insertion(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    ids = data.draw(st.lists(st.text(max_size=4), unique=True, max_size=30))
    first, second = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    with (
        closing(Shards("sqlite", folder / "a", first)) as source,
        closing(Shards("sqlite", folder / "b", second)) as target,
    ):
        source.put(ids)
        copy(source, target.stores)
        copied = target.content()

        assert copied == source.content()
        if first == second == 1:
            assert list(copied) == ids

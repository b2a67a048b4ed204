"""Operations on a running cache: shards and ingress replicas in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployments.operations.cache import WARM_TEXTS
from embedder.cache.archive import read_archive
from embedder.cache.sharding import owners
from embedder.cache.store.records import FOREVER
from embedder.core.errors import UnknownModel
from embedder.core.types import Priority
from tests.unit.deployments.operations.cache_service import (
    LETTERS,
    TAGS,
    CacheService,
    operations_on,
)


def test_an_archive_moves_a_cache_to_another_number_of_shards(tmp_path: Path) -> None:
    old, new = CacheService(3), CacheService(2)
    old.fill(100)
    progress: list[int] = []
    manifest = operations_on(old).export_to(tmp_path / "archive", progress.append)
    taken = operations_on(new).import_from(tmp_path / "archive", progress.append)

    assert manifest.count == taken == 200
    assert sum(progress) == 400
    assert manifest.models == tuple(LETTERS)
    assert read_archive(tmp_path / "archive") == manifest
    assert new.content() == old.content()
    assert {life for _, _, life in new.content().values()} == {FOREVER}
    for number, shard in enumerate(new.caches):
        assert set(owners(asyncio.run(shard.keys()), 2).tolist()) == {number}


def test_purge_deletes_one_model_in_every_shard_and_ingress() -> None:
    service = CacheService(3)
    service.fill(50)

    assert operations_on(service).purge("words") == 50
    assert {key[:8] for key in service.content()} == {TAGS["letters"]}
    assert service.fake_ingress.forgotten == [TAGS["words"]]


def test_a_model_that_was_never_served_is_refused() -> None:
    with pytest.raises(UnknownModel, match="other"):
        operations_on(CacheService(1)).purge("other")


def test_clear_deletes_all_entries_in_every_shard_and_ingress() -> None:
    service = CacheService(3)
    service.fill(50)

    assert operations_on(service).clear() == 100
    assert service.content() == {}
    assert service.fake_ingress.forgotten == [None]


def test_texts_are_embedded_as_bulk_work_in_batches() -> None:
    service = CacheService(1)
    texts = [f"text {number}" for number in range(5 * WARM_TEXTS + 7)]
    progress: list[int] = []

    count = operations_on(service).warm(iter(texts), "letters", progress.append)

    assert count == sum(progress) == len(texts)
    assert [text for part, _, _ in service.fake_ingress.embedded for text in part] == texts
    assert {len(part) for part, _, _ in service.fake_ingress.embedded} == {WARM_TEXTS, 7}
    assert {(options.priority, model) for _, options, model in service.fake_ingress.embedded} == {
        (Priority.BULK, "letters")
    }

"""Operations on the cache of a running service: statistics, deletion, export, import, warming."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deployments.operations.running_service import RunningService
from deployments.rpc.handle_client import Handle
from embedder.cache.archive import read_archive, records_of, write_archive
from embedder.cache.archive_format import ArchivedModel, Manifest
from embedder.cache.sharding import owners
from embedder.cache.store.records import Records
from embedder.core.errors import UnknownModel
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority

PAGE = 4096
"""Entries of one call: a few megabytes."""

WARM_TEXTS = 256
WARM_AHEAD = 3
"""Calls sent ahead of the one that is awaited, so that the encoders are always busy."""

Progress = Callable[[int], object]
"""Receives the number of entries or texts completed since the last call."""


class CacheOperations:
    """The cache of a running service: its shards, and the local caches of ingress replicas."""

    def __init__(self, service: RunningService) -> None:
        self._shards = service.shards("EmbeddingCache")
        self._ingress = service.ingress

    def stats(self) -> dict[str, Mapping[str, Any]]:
        """Return the statistics of every cache, by the name of its shard or replica."""
        local: Sequence[dict[str, Any]] = self._broadcast("local_cache_stats")
        shards = {name: shard.stats.remote().result() for name, shard in self._shards.items()}
        return {**shards, **{f"Ingress {stats['replica']}": stats for stats in local}}

    def clear(self) -> int:
        """Delete all entries and return the number of entries that the shards had."""
        count = sum(int(shard.clear.remote().result()) for shard in self._all())
        self._broadcast("clear_local_cache")
        return count

    def purge(self, model: str) -> int:
        """Delete all entries of a model, in all revisions; return how many the shards had.

        Raises:
            UnknownModel: the cache never had entries of a model of this name.
        """
        tags = {bytes.fromhex(one.tag) for one in self._models() if one.name == model}
        if not tags:
            raise UnknownModel("model", model)
        count = 0
        for tag in sorted(tags):
            count += sum(shard.purge.remote(tag).result() for shard in self._all())
            self._broadcast("clear_local_cache", tag)
        return count

    def count(self) -> int:
        """Return the number of entries in the shards."""
        return sum(int(shard.stats.remote().result()["entries"]) for shard in self._all())

    def export_to(self, folder: Path, progress: Progress) -> Manifest:
        """Write all entries of the shards to a new archive; a failure leaves no archive behind.

        Raises:
            ArchiveError: the folder exists, or cannot be written.
        """
        return write_archive(folder, self._records(progress), models=self._models())

    def import_from(self, folder: Path, progress: Progress) -> int:
        """Store every entry of an archive in its shard, and return the number of entries.

        Raises:
            ArchiveError: the archive is damaged, foreign or newer; then nothing was stored.
        """
        manifest = read_archive(folder)
        shards = self._all()
        count = 0
        for records in records_of(folder, manifest):
            owner = owners(records.keys, len(shards))
            for number, shard in enumerate(shards):
                rows = np.flatnonzero(owner == number)
                keys = [records.keys[row] for row in rows.tolist()]
                entries, ttls_s = records.entries.take(rows), records.ttls_s[rows]
                shard.put_many.remote(keys, entries, ttls_s).result()
            count += len(records)
            progress(len(records))
        return count

    def warm(self, texts: Iterable[str], model: str | None, progress: Progress) -> int:
        """Embed texts as bulk work, which caches their vectors; return the number of texts."""
        options = EmbedOptions(priority=Priority.BULK)
        source = iter(texts)
        pending: list[tuple[int, Any]] = []
        count = 0
        while batch := list(islice(source, WARM_TEXTS)):
            pending.append((len(batch), self._ingress.embed.remote(batch, options, model)))
            if len(pending) > WARM_AHEAD:
                count += _finish(*pending.pop(0), progress)
        return count + sum(_finish(size, answer, progress) for size, answer in pending)

    def _records(self, progress: Progress) -> Iterator[Records]:
        for shard in self._all():
            keys: list[bytes] = shard.keys.remote().result()
            for start in range(0, len(keys), PAGE):
                page = keys[start : start + PAGE]
                yield from shard.records.remote(page).result()
                progress(len(page))

    def _models(self) -> list[ArchivedModel]:
        models: dict[str, ArchivedModel] = {}
        for shard in self._all():
            models.update((model.tag, model) for model in shard.models.remote().result())
        return list(models.values())

    def _all(self) -> list[Handle]:
        return list(self._shards.values())

    def _broadcast(self, method: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = self._ingress.broadcast(method, *arguments).results()
        return answers


def _finish(size: int, answer: Any, progress: Progress) -> int:
    answer.result()
    progress(size)
    return size

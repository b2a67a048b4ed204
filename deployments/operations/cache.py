"""Operations on the cache of a running service: statistics, deletion, export, import, warming."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deployments.operations.running_service import RunningService
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
        self._shards = list(service.shards("EmbeddingCache").values())
        self._ingress = service.ingress

    def stats(self) -> dict[str, Mapping[str, Any]]:
        """Return the statistics of every cache, by the name of its shard or replica."""
        local: Sequence[dict[str, Any]] = self._broadcast("local_cache_stats")
        shards = {stats["shard"]: stats for stats in self._each("stats")}
        return {**shards, **{f"Ingress {stats['replica']}": stats for stats in local}}

    def clear(self) -> int:
        """Delete all entries and return the number of entries that the shards had."""
        count: int = sum(self._each("clear"))
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
            count += sum(self._each("purge", tag))
            self._broadcast("clear_local_cache", tag)
        return count

    def count(self) -> int:
        """Return the number of entries in the shards."""
        return sum(stats["entries"] for stats in self._each("stats"))

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
        count = 0
        for records in records_of(folder, manifest):
            owner = owners(records.keys, len(self._shards))
            for number, shard in enumerate(self._shards):
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
        for shard in self._shards:
            keys: list[bytes] = shard.keys.remote().result()
            for start in range(0, len(keys), PAGE):
                page = keys[start : start + PAGE]
                yield from shard.records.remote(page).result()
                progress(len(page))

    def _models(self) -> list[ArchivedModel]:
        return list(
            {model.tag: model for models in self._each("models") for model in models}.values()
        )

    def _each(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every shard at once, and return the answers in order."""
        calls = [getattr(shard, method).remote(*arguments) for shard in self._shards]
        return [call.result() for call in calls]

    def _broadcast(self, method: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = self._ingress.broadcast(method, *arguments).results()
        return answers


def _finish(size: int, answer: Any, progress: Progress) -> int:
    answer.result()
    progress(size)
    return size

"""What an operator does with the cache of a running service: look, forget, carry away, bring back.

Sees the shards as handles and archives as folders. Knows nothing of command lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deployments.operations.running_service import RunningService
from deployments.rpc.handle_client import Handle
from embedder.cache.archive import (
    ArchivedModel,
    Manifest,
    read_archive,
    records_of,
    write_archive,
)
from embedder.cache.sharding import owners
from embedder.cache.store.records import Records
from embedder.core.errors import UnknownModel
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority

PAGE = 4096
"""Entries that travel in one call: some megabytes."""

WARM_TEXTS = 256
WARM_AHEAD = 3
"""Calls that wait or are computed while one is answered, so that the encoders never idle."""

Progress = Callable[[int], object]
"""Told how many more entries, or texts, are done."""


class CacheOperations:
    """The cache of a running service: its shards, and the caches inside the ingress replicas."""

    def __init__(self, service: RunningService) -> None:
        self._shards = service.shards("EmbeddingCache")
        self._ingress = service.ingress

    def stats(self) -> dict[str, Mapping[str, Any]]:
        """Return what every cache says of itself, by the name of its shard or replica."""
        near: Sequence[dict[str, Any]] = self._to_all_ingresses("local_cache_stats")
        told = {name: shard.stats.remote().result() for name, shard in self._shards.items()}
        return {**told, **{f"Ingress {one['replica']}": one for one in near}}

    def clear(self) -> int:
        """Forget everything and return how many entries the shards had."""
        count = sum(int(shard.clear.remote().result()) for shard in self._shards.values())
        self._to_all_ingresses("clear_local_cache")
        return count

    def purge(self, model: str) -> int:
        """Forget what is of a model, in all its revisions; return how many entries the shards had.

        Raises:
            UnknownModel: no model of this name was ever served here.
        """
        tags = {bytes.fromhex(one.tag) for one in self._models() if one.name == model}
        if not tags:
            raise UnknownModel("model", model)
        count = 0
        for tag in sorted(tags):
            count += sum(shard.purge.remote(tag).result() for shard in self._all())
            self._to_all_ingresses("clear_local_cache", tag)
        return count

    def count(self) -> int:
        """Return how many entries the shards hold."""
        return sum(int(shard.stats.remote().result()["entries"]) for shard in self._all())

    def export_to(self, folder: Path, progress: Progress) -> Manifest:
        """Write every entry of the shards to an archive, which is there whole or not at all.

        Raises:
            ArchiveError: the folder is there already, or cannot be written.
        """
        return write_archive(folder, self._records(progress), models=self._models())

    def import_from(self, folder: Path, progress: Progress) -> int:
        """Put every entry of an archive into its shard and return how many that were.

        Raises:
            ArchiveError: the archive is damaged, foreign or newer; then nothing was put.
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
        """Embed texts as documents that are sure to be asked for; return how many that were."""
        options = EmbedOptions(priority=Priority.BULK)
        source = iter(texts)
        waiting: list[tuple[int, Any]] = []
        count = 0
        while part := list(islice(source, WARM_TEXTS)):
            waiting.append((len(part), self._ingress.embed.remote(part, options, model)))
            if len(waiting) > WARM_AHEAD:
                count += _finish(*waiting.pop(0), progress)
        return count + sum(_finish(size, answer, progress) for size, answer in waiting)

    def _records(self, progress: Progress) -> Iterator[Records]:
        for shard in self._all():
            keys: list[bytes] = shard.keys.remote().result()
            for start in range(0, len(keys), PAGE):
                page = keys[start : start + PAGE]
                yield from shard.records.remote(page).result()
                progress(len(page))

    def _models(self) -> list[ArchivedModel]:
        told: list[list[ArchivedModel]] = [shard.models.remote().result() for shard in self._all()]
        return list({one.tag: one for models in told for one in models}.values())

    def _all(self) -> list[Handle]:
        return list(self._shards.values())

    def _to_all_ingresses(self, method: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = self._ingress.broadcast(method, *arguments).results()
        return answers


def _finish(size: int, answer: Any, progress: Progress) -> int:
    answer.result()
    progress(size)
    return size

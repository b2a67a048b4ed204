"""The changes that memory has and a store lacks: keys to put and to delete, models to purge.

The last change of a key counts. Only keys are held: memory has their values until they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from embedder.cache.store.records import TAG_BYTES


@dataclass(slots=True)
class Flush:
    """The changes of one flush, to be applied in this order; applied changes are removed.

    ``keys`` are put if True and deleted if False.
    """

    cleared: bool = False
    models: Mapping[str, bytes] | None = None
    purged: list[bytes] = field(default_factory=list)
    keys: dict[bytes, bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.cleared + (self.models is not None) + len(self.purged) + len(self.keys)

    def done(self, keys: Iterable[bytes]) -> None:
        """Remove keys that the store has applied."""
        for key in keys:
            del self.keys[key]


class DirtyKeys:
    """Collects changes until a flush takes them."""

    def __init__(self) -> None:
        self._next = Flush()
        self._models: Mapping[str, bytes] | None = None

    def __len__(self) -> int:
        return len(self._next)

    def put(self, keys: Iterable[bytes]) -> None:
        """Record keys whose values memory has stored."""
        self._next.keys.update(dict.fromkeys(keys, True))

    def delete(self, keys: Iterable[bytes]) -> None:
        """Record keys that the store has to delete."""
        self._next.keys.update(dict.fromkeys(keys, False))

    def discard(self, keys: Iterable[bytes]) -> None:
        """Drop the changes of keys; the store keeps their rows, if it has any."""
        for key in keys:
            self._next.keys.pop(key, None)

    def purge(self, tag: bytes) -> None:
        """Record a model of which the store has to delete all keys."""
        self._next.keys = _without(self._next.keys, [tag])
        self._next.purged.append(tag)

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Record the models that are served now: name to tag."""
        self._models = self._next.models = dict(models)

    def clear(self) -> None:
        """Record that the whole store has to be emptied; this replaces all earlier changes."""
        self._next = Flush(cleared=True, models=self._models)

    def put_all(self, keys: Iterable[bytes]) -> None:
        """Record all keys of memory, for a store that may have none of them."""
        self.put(keys)
        self._next.models = self._models

    def hides(self, key: bytes) -> bool:
        """Tell whether the store's row of a key is out of date."""
        changes = self._next
        return changes.cleared or key in changes.keys or key[:TAG_BYTES] in changes.purged

    def take(self) -> Flush:
        """Return all changes and start an empty collection."""
        flush, self._next = self._next, Flush()
        return flush

    def restore(self, flush: Flush) -> None:
        """Put back the rest of a failed flush, as older than all changes since."""
        since = self._next
        if not since:
            self._next = flush
            return
        models = since.models if since.models is not None else flush.models
        if since.cleared:
            since.models = models
            return
        keys = _without(flush.keys, since.purged)
        keys.update(since.keys)
        self._next = Flush(flush.cleared, models, [*flush.purged, *since.purged], keys)


def _without(keys: dict[bytes, bool], tags: list[bytes]) -> dict[bytes, bool]:
    """Return the changes without those of some models."""
    if not tags:
        return keys
    return {key: put for key, put in keys.items() if key[:TAG_BYTES] not in tags}

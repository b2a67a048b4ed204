"""What a store does not have yet as memory has it: keys to put and to delete, models to purge.

The last word on a key counts. Only keys are held, never values: memory has these until they are
written. Pure bookkeeping: knows nothing of stores or of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from embedder.cache.store.records import TAG_BYTES


@dataclass(slots=True)
class Flush:
    """What one turn of writing has to do, in this order; whoever does a part takes it out.

    ``keys`` are to be put where True and to be deleted where False.
    """

    cleared: bool = False
    models: Mapping[str, bytes] | None = None
    purged: list[bytes] = field(default_factory=list)
    keys: dict[bytes, bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.cleared + (self.models is not None) + len(self.purged) + len(self.keys)

    def done(self, keys: Iterable[bytes]) -> None:
        """Take out keys of which the store has been told."""
        for key in keys:
            del self.keys[key]


class DirtyKeys:
    """Collects what is to be written until a turn takes it."""

    def __init__(self) -> None:
        self._next = Flush()
        self._models: Mapping[str, bytes] | None = None

    def __len__(self) -> int:
        return len(self._next)

    def put(self, keys: Iterable[bytes]) -> None:
        """Mark keys whose values memory has anew."""
        self._next.keys.update(dict.fromkeys(keys, True))

    def delete(self, keys: Iterable[bytes]) -> None:
        """Mark keys that the store has to forget."""
        self._next.keys.update(dict.fromkeys(keys, False))

    def forget(self, key: bytes) -> None:
        """Mark a key that memory has no more."""
        self._next.keys[key] = False

    def leave(self, key: bytes) -> None:
        """Take away the mark of a key: whatever the store has may stay."""
        self._next.keys.pop(key, None)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Take away the marks of keys that were not put after all."""
        for key in keys:
            self.leave(key)

    def purge(self, tag: bytes) -> None:
        """Mark a model of which the store has to forget everything."""
        self._next.keys = _without(self._next.keys, [tag])
        self._next.purged.append(tag)

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Mark the models, name by name with their tags, that are served now."""
        self._models = self._next.models = dict(models)

    def clear(self) -> None:
        """Mark the whole store to be emptied; what was marked before has no meaning any more."""
        self._next = Flush(cleared=True, models=self._models)

    def everything(self, keys: Iterable[bytes]) -> None:
        """Mark all that memory has, for a store that may have none of it."""
        self.put(keys)
        self._next.models = self._models

    def hides(self, key: bytes) -> bool:
        """Tell whether what a store has under a key is out of date."""
        marked = self._next
        return marked.cleared or key in marked.keys or key[:TAG_BYTES] in marked.purged

    def take(self) -> Flush:
        """Return all there is to do, and begin anew."""
        turn, self._next = self._next, Flush()
        return turn

    def restore(self, turn: Flush) -> None:
        """Mark again what a turn could not do, behind whatever has been said since."""
        since = self._next
        if not since:
            self._next = turn
            return
        models = since.models if since.models is not None else turn.models
        if since.cleared:
            since.models = models
            return
        keys = _without(turn.keys, since.purged)
        keys.update(since.keys)
        self._next = Flush(turn.cleared, models, [*turn.purged, *since.purged], keys)


def _without(keys: dict[bytes, bool], tags: list[bytes]) -> dict[bytes, bool]:
    """Return the marks but for those of some models."""
    if not tags:
        return keys
    return {key: put for key, put in keys.items() if key[:TAG_BYTES] not in tags}

"""Which creation of a collection a shard has, and which model it records.

By these calls the shards of one index come to agree. Knows nothing of other shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from embedder.index import changes
from embedder.index.contract.points import CollectionInfo, Spec, StoredModel
from embedder.index.reembedding import Reembedding
from embedder.index.shard import Shard
from embedder.index.storage.writes import is_deleted


class CollectionLifecycle:
    """The creations of one shard; ``sound`` refuses a shard that has failed."""

    def __init__(self, shard: Shard, sound: Callable[[str], AbstractContextManager[None]]) -> None:
        self._shard = shard
        self._sound = sound

    @property
    def reembedding(self) -> Reembedding:
        """Return the steps that give a collection the vectors of another model."""
        return Reembedding(self._shard, self._sound)

    def create(self, name: str, spec: Spec) -> CollectionInfo:
        """Create a collection, or confirm one that is there and was made with the same.

        A new one gets the identity of ``spec``; one that is there keeps its own.

        Raises:
            InvalidInput: the name is not plain, the kind has no such metric, or the name is taken
                by a collection that is made otherwise.
        """
        with self._sound(name):
            return changes.create(self._shard, name, spec)

    def record_model(self, name: str, identity: str | None, model: StoredModel) -> CollectionInfo:
        """Record the model that computes the vectors of a collection.

        Raises:
            UnknownCollection: there is none of this name.
            StaleCollection: it has another identity, or records another model.
        """
        with self._sound(name):
            return changes.record(self._shard, name, identity, model)

    def drop(self, name: str, identity: str) -> None:
        """Delete the collection of this identity, which another shard has deleted or replaced.

        A complete staged replaces it here, too. Again changes nothing.

        Raises:
            UnknownCollection: there is none of this name.
            StaleCollection: it has another identity.
        """
        with self._sound(name):
            changes.drop(self._shard, name, identity)

    def deleted(self, identities: Sequence[str]) -> list[str]:
        """Return those of the identities whose collections were deleted here."""
        with self._sound(""), self._shard.store.reader.snapshot() as db:
            return [one for one in identities if is_deleted(db, one)]

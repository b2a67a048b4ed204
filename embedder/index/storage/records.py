"""The records of a store: a stored collection, and a point that waits for a staged vector."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from embedder.core.errors import InvalidVector
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Spec, StoredModel, stored_model

PAGE_POINTS = 1024
PAGE_CHARACTERS = 4 << 20
"""A page of outdated points ends with the point whose text exceeds this."""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A stored collection; ``name`` is None while it is restored, and after it was deleted.

    ``id`` is its number in the store. ``sequence`` is the number of its last write.
    """

    id: int
    uuid: str
    name: str | None
    metric: Metric
    kind: IndexKind
    width: int | None
    model: str | None
    sequence: int
    count: int
    identity: str
    revision: str | None = None
    digest: str | None = None
    pooling: str | None = None

    @property
    def spec(self) -> Spec:
        """Return the settings of the collection, with its recorded model."""
        return Spec(
            self.metric, self.kind, self.width, self.model, self.stored, identity=self.identity
        )

    @property
    def stored(self) -> StoredModel | None:
        """Return the model that computed the vectors, None before the first text."""
        return stored_model(self.model, self.revision, self.digest, self.pooling)

    def with_model(self, model: StoredModel | None) -> CollectionRow:
        """Return the collection with the model that computes its vectors; None changes nothing.

        Raises:
            StaleCollection: another model is recorded.
        """
        if model is None:
            return self
        if self.stored is not None:
            if not self.stored.is_same(model):
                raise StaleCollection(str(self.name))
            return self
        return replace(
            self,
            model=self.model or model.name,
            revision=model.revision,
            digest=model.digest,
            pooling=model.pooling,
        )

    def next_write(self, width: int) -> CollectionRow:
        """Return the collection after its next write, which stores vectors of ``width``.

        Raises:
            InvalidVector: the collection has another width.
        """
        if self.width not in (None, width):
            problem = f"has {width} components; the collection has {self.width}"
            raise InvalidVector("points[0].vector", problem)
        return replace(self, sequence=self.sequence + 1, width=width)


@dataclass(frozen=True, slots=True)
class OutdatedPoint:
    """A point whose current text has no staged vector; ``seq`` is the version of the text."""

    pk: int
    seq: int
    id: str
    text: str


def new_collection(name: str | None, spec: Spec) -> CollectionRow:
    """Return an empty collection; its ``id`` is 0 until a store assigns a number."""
    row = CollectionRow(
        *(0, uuid.uuid4().hex, name, spec.metric, spec.kind, spec.width, spec.model, 0, 0),
        identity=spec.identity or uuid.uuid4().hex,
    )
    return row.with_model(spec.stored)

"""Vectors for points and queries: their own, or those of their texts.

Texts are embedded in the same request, all together, with the model of their collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import to_vector
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Vectors
from embedder.index.contract.points import CollectionInfo, StoredModel


class HasContent(Protocol):
    """A point or a query: it has a text or a vector, or neither."""

    @property
    def text(self) -> str | None:
        """Return its text."""

    @property
    def vector(self) -> object:
        """Return its vector as the client sent it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Items as they were sent: a vector or None for each, and the texts by their rows.

    ``fields`` are what the client calls the vector of each item, which may be its text.
    """

    vectors: list[Vectors | None]
    texts: dict[int, str]
    fields: list[str]

    @classmethod
    def of(cls, items: Sequence[HasContent], names: Sequence[str]) -> Contents:
        """Read the items; ``names`` are what the client calls each, "" for the body itself.

        Raises:
            InvalidInput: a vector is none.
        """
        contents = cls([None] * len(items), {}, [])
        for row, (item, name) in enumerate(zip(items, names, strict=True)):
            by_text = item.vector is None and item.text is not None
            contents.fields.append(path(name, "text" if by_text else "vector"))
            if item.vector is not None:
                contents.vectors[row] = to_vector(item.vector, contents.fields[row])
            elif item.text is not None:
                contents.texts[row] = item.text
        return contents

    async def embedded(
        self,
        service: Service,
        context: RequestContext,
        collection: CollectionInfo | None,
        model: str | None,
        priority: Priority,
    ) -> tuple[list[Vectors | None], StoredModel]:
        """Return a vector for each item that has any content, and the model of the texts.

        Raises:
            EmbedderError: as `Service.embed_for`.
        """
        fields = [self.fields[row] for row in self.texts]
        options = EmbedOptions(priority=priority, timeout_s=context.remaining_s())
        with rename_input_errors("input", fields.__getitem__):
            answer, stored = await service.embed_for(
                collection, list(self.texts.values()), options, model=model
            )
        found = list(self.vectors)
        for row, vector in zip(self.texts, answer.vectors, strict=True):
            found[row] = vector
        return found, stored


def path(prefix: str, field: str) -> str:
    """Return what the client calls a field of an item."""
    return f"{prefix}.{field}" if prefix else field


def check_count(field: str, count: int, limit: int) -> None:
    """Refuse a list that is empty or longer than its limit.

    Raises:
        InvalidInput: as said.
    """
    if count == 0:
        raise InvalidInput(field, "must not be empty")
    if count > limit:
        raise LimitExceeded(field, "items", count, limit)

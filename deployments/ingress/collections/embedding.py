"""Vectors of points and queries: given ones, or those of their texts, embedded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import to_vector
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Vectors
from embedder.index.contract.points import CollectionInfo, StoredModel


class HasContent(Protocol):
    """A point or a query with a text, a vector, or neither."""

    @property
    def text(self) -> str | None:
        """Return its text."""

    @property
    def vector(self) -> object:
        """Return its vector as sent by the client."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The vector or None of each item, and the texts by row.

    ``fields`` has the field of each item from which its vector comes, ``text`` or ``vector``.
    """

    vectors: list[Vectors | None]
    texts: dict[int, str]
    fields: list[str]

    @classmethod
    def of(cls, items: Sequence[HasContent], names: Sequence[str]) -> Contents:
        """Convert items; ``names`` has the path of each item in the body, "" for the body itself.

        Raises:
            InvalidInput: a vector is invalid.
        """
        contents = cls([None] * len(items), {}, [])
        for row, (item, name) in enumerate(zip(items, names, strict=True)):
            by_text = item.vector is None and item.text is not None
            contents.fields.append(field_path(name, "text" if by_text else "vector"))
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
        """Return the vector of each item that has content, and the model of the texts.

        Raises:
            EmbedderError: as `Service.embed_for`.
        """
        fields = [self.fields[row] for row in self.texts]
        options = EmbedOptions(priority=priority)
        with rename_input_errors("input", fields.__getitem__):
            answer, stored = await service.embed_for(
                collection, list(self.texts.values()), options, context.deadline, model=model
            )
        found = list(self.vectors)
        for row, vector in zip(self.texts, answer.vectors, strict=True):
            found[row] = vector
        return found, stored


def field_path(prefix: str, field: str) -> str:
    """Return the path of a field of an item in the body."""
    return f"{prefix}.{field}" if prefix else field

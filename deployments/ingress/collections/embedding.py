"""Vectors of points and queries: given ones, or those of their texts, embedded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import to_vector
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Vectors
from embedder.index.contract.points import CollectionInfo, StoredModel


class HasContent(Protocol):
    """A point or a query with a text, a vector, or neither."""

    text: str | None
    vector: Any


@dataclass(frozen=True, slots=True)
class Contents:
    """The vector or None of each item, and the texts by row.

    ``fields`` has the field of each item from which its vector comes, ``text`` or ``vector``.
    """

    vectors: list[Vectors | None]
    texts: dict[int, str]
    fields: list[str]

    @classmethod
    def of(cls, items: Sequence[HasContent], prefixes: Sequence[str]) -> Contents:
        """Convert items; ``prefixes`` are what precedes the fields of each in errors.

        Raises:
            InvalidInput: a vector is invalid.
        """
        contents = cls([None] * len(items), {}, [])
        for row, (item, prefix) in enumerate(zip(items, prefixes, strict=True)):
            by_text = item.vector is None and item.text is not None
            contents.fields.append(prefix + ("text" if by_text else "vector"))
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

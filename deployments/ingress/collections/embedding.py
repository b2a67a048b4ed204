"""Vectors of points and queries: given ones, or those of their texts, embedded together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import to_vector
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Vectors
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.index.contract.sparse import SparseVector


class HasContent(Protocol):
    """A point or a query with a text, a vector, or neither."""

    text: str | None
    vector: Any


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector and the sparse vector of each item, and the model of the texts.

    An item whose vector was given has no sparse one, unless its text was embedded too; where the
    model computes none, no item has one.
    """

    vectors: list[Vectors | None]
    sparse: list[SparseVector | None]
    model: StoredModel


@dataclass(frozen=True, slots=True)
class Contents:
    """The vector or None of each item, and the texts by row.

    ``fields`` has the field of each item from which its vector comes, ``text`` or ``vector``, and
    ``text_fields`` the field of each text, in their order.
    """

    vectors: list[Vectors | None]
    texts: dict[int, str]
    fields: list[str]
    text_fields: list[str]

    @classmethod
    def of(
        cls,
        items: Sequence[HasContent],
        prefixes: Sequence[str],
        weighted: Collection[int] = (),
    ) -> Contents:
        """Convert items; ``prefixes`` are what precedes the fields of each in errors.

        The texts of the rows ``weighted`` are embedded also beside a vector.

        Raises:
            InvalidInput: a vector is invalid.
        """
        contents = cls([None] * len(items), {}, [], [])
        for row, (item, prefix) in enumerate(zip(items, prefixes, strict=True)):
            by_text = item.vector is None and item.text is not None
            contents.fields.append(prefix + ("text" if by_text else "vector"))
            if item.vector is not None:
                contents.vectors[row] = to_vector(item.vector, contents.fields[row])
            if item.text is not None and (by_text or row in weighted):
                contents.texts[row] = item.text
                contents.text_fields.append(f"{prefix}text")
        return contents

    async def embedded(
        self,
        service: Service,
        context: RequestContext,
        collection: CollectionInfo | None,
        model: str | None,
        priority: Priority,
        *,
        sparse: bool = True,
    ) -> Embedded:
        """Return the vectors of each item that has content.

        Raises:
            EmbedderError: as `Service.embed_for`.
        """
        options = EmbedOptions(priority=priority)
        given = (collection, list(self.texts.values()), options, context.deadline)
        with rename_input_errors("input", self.text_fields.__getitem__):
            answer = await service.embed_for(*given, model=model, sparse=sparse)
        found = list(self.vectors)
        for row, vector in zip(self.texts, answer.vectors, strict=True):
            if found[row] is None:
                found[row] = vector
        weights = dict(zip(self.texts, answer.sparse, strict=True)) if answer.sparse else {}
        return Embedded(found, [weights.get(row) for row in range(len(found))], answer.model)

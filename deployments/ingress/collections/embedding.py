"""Vectors for points and queries: their own, or those of their texts.

Texts are embedded in the same request, all together. Knows nothing of collections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deployments.ingress.door.visit import Visit
from deployments.ingress.service import Service
from deployments.ingress.wire.inputs import to_vector
from deployments.ingress.wire.large_bodies import prepare
from deployments.ingress.wire.naming import calling
from embedder.errors import InvalidInput, LimitExceeded
from embedder.request import EmbedOptions
from embedder.types import Priority, Vectors


class HasContent(Protocol):
    """A point or a query: it has a text or a vector, or neither."""

    @property
    def text(self) -> str | None:
        """Return its text."""

    @property
    def vector(self) -> object:
        """Return its vector as the client sent it."""


async def vectors_of(
    service: Service,
    visit: Visit,
    items: Sequence[HasContent],
    names: Sequence[str],
    model: str | None,
    priority: Priority,
) -> list[Vectors | None]:
    """Return each item's own vector, else that of its text, else None.

    ``names`` are what the client calls each item, "" for the body itself.

    Raises:
        EmbedderError: as `Service.embed`; or a vector is none.
    """
    service.check_model(model)
    found = await prepare(visit, _own_vectors, items, names)
    texts = {
        row: item.text
        for row, item in enumerate(items)
        if item.vector is None and item.text is not None
    }
    if texts:
        fields = [path(names[row], "text") for row in texts]
        options = EmbedOptions(priority=priority, timeout_s=visit.remaining_s())
        with calling("input", fields.__getitem__):
            answer = await service.embed(list(texts.values()), options, model=model)
        for row, vector in zip(texts, answer.vectors, strict=True):
            found[row] = vector
    return found


def _own_vectors(items: Sequence[HasContent], names: Sequence[str]) -> list[Vectors | None]:
    return [
        None if item.vector is None else to_vector(item.vector, path(name, "vector"))
        for item, name in zip(items, names, strict=True)
    ]


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

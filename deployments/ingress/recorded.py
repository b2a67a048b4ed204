"""Which served model embeds the texts of a collection: the one that computed its vectors.

Decides from what is known of both; loads and calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from embedder.errors import InvalidVector
from embedder.index.points import CollectionInfo, StoredModel
from embedder.storage_errors import ModelMismatch
from embedder.types import ModelInfo


class HasModelInfo(Protocol):
    """A connection to a loaded model."""

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model."""


ConnectionT = TypeVar("ConnectionT", bound=HasModelInfo)


def stored_of(model: ModelInfo) -> StoredModel:
    """Return what a collection records of a model."""
    return StoredModel(model.name, model.revision, model.digest, model.pooling)


def choose(
    collection: CollectionInfo,
    wanted: StoredModel,
    asked: ConnectionT,
    others: Iterable[ConnectionT],
) -> ConnectionT:
    """Return the connection to the model ``wanted``: ``asked``, or one of the ``others``.

    Raises:
        ModelMismatch: none of them is a connection to that model.
    """
    for one in (asked, *others):
        if wanted.is_same(stored_of(one.info)):
            return one
    raise ModelMismatch(collection.name, str(wanted), str(stored_of(asked.info)))


def check_width(collection: CollectionInfo, model: ModelInfo) -> None:
    """Refuse texts whose vectors cannot be in the collection.

    Raises:
        InvalidVector: the error names the first text ``input[0]``.
    """
    if collection.width not in (None, model.width):
        raise InvalidVector(
            "input[0]",
            f"is embedded by model {model.name!r} with {model.width} components; collection "
            f"{collection.name!r} has {collection.width}",
        )

"""Which served model embeds the texts of a collection: the one that computed its vectors.

Decides from the descriptions of both. Knows nothing of how a model is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from embedder.core.errors import InvalidVector, UnknownModel
from embedder.core.storage_errors import ModelMismatch
from embedder.core.types import ModelInfo
from embedder.index.contract.points import CollectionInfo, StoredModel


class HasModelInfo(Protocol):
    """A connection to a loaded model."""

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model."""


ConnectionT = TypeVar("ConnectionT", bound=HasModelInfo)


def stored_of(model: ModelInfo) -> StoredModel:
    """Return what a collection records of a model."""
    return StoredModel(model.name, model.revision, model.digest, model.pooling)


async def connection_for(
    collection: CollectionInfo | None,
    stated: str | None,
    connect: Callable[[str | None], Awaitable[ConnectionT]],
    serving: Callable[[], Iterable[ConnectionT]],
) -> ConnectionT:
    """Return the connection to the model that embeds texts of a collection.

    ``stated`` is the model that the request states. ``connect`` returns the connection to a model
    by its name, None being the first served one; ``serving`` returns all connections.

    Raises:
        ModelMismatch: ``stated`` is another than the model of the collection, or that is not
            served.
        EmbedderError: as ``connect``.
    """
    if collection is None:
        return await connect(stated)
    try:
        asked = await connect(collection.model if stated is None else stated)
    except UnknownModel:
        # An unknown stated model was refused before: the collection's own is not served.
        asked = await connect(None)
    wanted = collection.stored
    if wanted is None and collection.model is not None:
        try:
            wanted = stored_of((await connect(collection.model)).info)
        except UnknownModel:
            problem = repr(collection.model), str(stored_of(asked.info))
            raise ModelMismatch(collection.name, *problem) from None
    if wanted is None:
        return asked
    # A stated name means one model; without one, any name of the right model will do.
    return _choose(collection, wanted, asked, serving() if stated is None else ())


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


def _choose(
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

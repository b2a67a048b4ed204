"""Chooses the served model for texts of a collection: the model that computed its vectors."""

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
    """Return the identity of a model that a collection records."""
    return StoredModel(model.name, model.revision, model.digest, model.pooling)


async def connection_for(
    collection: CollectionInfo | None,
    stated: str | None,
    connect: Callable[[str | None], Awaitable[ConnectionT]],
    serving: Callable[[], Iterable[ConnectionT]],
) -> ConnectionT:
    """Return the connection to the model that embeds texts of a collection.

    ``stated`` is the model that the request names. ``connect`` returns the connection for a name;
    None means the first served model. ``serving`` returns all connections.

    Raises:
        ModelMismatch: ``stated`` is not the model of the collection, or that is not served.
        EmbedderError: as ``connect``.
    """
    if collection is None:
        return await connect(stated)
    try:
        candidate = await connect(collection.model if stated is None else stated)
    except UnknownModel:
        # The stated model was checked before, so the model of the collection is not served.
        candidate = await connect(None)
    wanted = collection.stored
    if wanted is None and collection.model is not None:
        try:
            wanted = stored_of((await connect(collection.model)).info)
        except UnknownModel:
            problem = repr(collection.model), str(stored_of(candidate.info))
            raise ModelMismatch(collection.name, *problem) from None
    if wanted is None:
        return candidate
    # If no model is stated, any served model of the right identity is used.
    return _choose(collection, wanted, candidate, serving() if stated is None else ())


def check_width(collection: CollectionInfo, model: ModelInfo) -> None:
    """Check that vectors of a model have the width of the collection.

    Raises:
        InvalidVector: they have another width; the error names the first text ``input[0]``.
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
    candidate: ConnectionT,
    others: Iterable[ConnectionT],
) -> ConnectionT:
    """Return the connection to the model ``wanted``: ``candidate``, or one of the ``others``.

    Raises:
        ModelMismatch: none of them is a connection to that model.
    """
    for one in (candidate, *others):
        if wanted.is_same(stored_of(one.info)):
            return one
    raise ModelMismatch(collection.name, str(wanted), str(stored_of(candidate.info)))

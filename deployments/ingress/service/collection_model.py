"""Chooses the served model for texts of a collection: the model that computed its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedModels
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidVector, UnknownModel
from embedder.core.outputs import OutputKind, RaggedRows, Task
from embedder.core.request import Outputs
from embedder.core.storage_errors import ModelMismatch
from embedder.core.types import ModelInfo, Vectors
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.index.contract.sparse import SparseVector, vectors_of

STORED_KINDS = (OutputKind.DENSE, OutputKind.SPARSE)
"""The kinds of results that a collection stores of a text."""


@dataclass(frozen=True, slots=True)
class TextVectors:
    """The vectors of texts of a collection, float32[n, width], and the model that computed them.

    ``sparse`` has the sparse vector of each text, or nothing: it was not asked for, or the model
    computes none.
    """

    vectors: Vectors
    sparse: Sequence[SparseVector]
    model: StoredModel

    @classmethod
    def of(cls, answer: Outputs, model: StoredModel) -> TextVectors:
        """Return the results of `STORED_KINDS`."""
        dense, sparse = (answer.rows[kind] for kind in STORED_KINDS)
        assert not isinstance(dense, RaggedRows), "dense vectors have one length"
        assert isinstance(sparse, RaggedRows), "sparse rows have lengths of their own"
        return cls(dense, vectors_of(sparse), model)


async def connection_for(
    models: ServedModels[Connection],
    collection: CollectionInfo | None,
    stated: str | None,
    deadline: Deadline,
) -> Connection:
    """Return the connection to the model that embeds texts of a collection.

    ``stated`` is the model that the request names, which is served; without it a collection that
    has no model takes the first that embeds.

    Raises:
        ModelMismatch: ``stated`` is not the model of the collection, or that is not served.
        EmbedderError: as `ServedModels.get`.
    """
    if collection is None:
        return await models.get(stated, deadline, task=Task.EMBED)
    try:
        name = collection.model if stated is None else stated
        candidate = await models.get(name, deadline, task=Task.EMBED)
    except UnknownModel:  # the model of the collection is not served under its name
        candidate = await models.get(None, deadline, task=Task.EMBED)
    wanted = collection.stored
    if wanted is None and collection.model is not None:
        try:
            wanted = (await models.get(collection.model, deadline)).stored
        except UnknownModel:
            problem = repr(collection.model), str(candidate.stored)
            raise ModelMismatch(collection.name, *problem) from None
    if wanted is None or wanted.is_same(candidate.stored):
        return candidate
    # If no model is stated, any served model of the right identity is used.
    others = models.serving() if stated is None else []
    for one in others:
        if wanted.is_same(one.stored):
            return one
    raise ModelMismatch(collection.name, str(wanted), str(candidate.stored))


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

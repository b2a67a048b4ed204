"""A running service with two models, and a collection that is filled with the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.collection_model import TextVectors
from deployments.operations.collections import CollectionOperations
from deployments.operations.point_lines import PointLine
from deployments.operations.reembedding import CollectionReembedding
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, StageUnavailable
from embedder.core.request import EmbedOptions
from embedder.core.types import Vectors
from embedder.index.contract.points import Metric, PointField, Points, Record, Spec, StoredModel
from tests.unit.deployments.index_service import IndexService, LetterIngress, vectors_of

NAME = "things"
DIGITS = StoredModel("digits", "2", "1" * 64, "mean")
GONE = StageUnavailable("VectorIndex", "gone")
TEXTS = {f"p{number}": "a" * (number + 1) for number in range(12)}


class TwoModels(LetterIngress):
    """Serves the letters first, and ``digits`` of width 3, whose calls run ``meanwhile``."""

    def __init__(self) -> None:
        super().__init__()
        self.digits = DIGITS
        self.texts: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def embed_with(
        self, model: str | None, texts: Sequence[str], options: EmbedOptions
    ) -> TextVectors:
        if model != DIGITS.name:
            return await super().embed_with(model, texts, options)
        if "bad" in texts:
            raise InvalidInput(f"input[{list(texts).index('bad')}]", "has too many tokens")
        self.texts += [text for text in texts if text != "width"]
        if self.meanwhile is not None and texts != ["width"]:
            await self.meanwhile()
        return TextVectors(digits_of(texts), self.sparse_of(texts), self.digits)


def digits_of(texts: Sequence[str]) -> Vectors:
    """Return the vectors of texts from the second model."""
    return np.array([[len(text), 1, -1] for text in texts], np.float32)


def filled_service(
    folder: Path, shards: int, *, url: str | None = None, replicas: int = 1
) -> IndexService:
    """Return a service with a collection of `TEXTS`, in the letters."""
    made = IndexService(folder, shards, url=url, replicas=replicas)
    made.fake_ingress = TwoModels()
    lines = [PointLine(0, one, text, None, {"text": text}) for one, text in TEXTS.items()]
    operation = CollectionOperations(made.as_running())
    asyncio.run(operation.create(NAME, Spec(Metric.L2, width=4)))
    asyncio.run(operation.add(NAME, lines, ignore))
    return made


def ignore(count: int) -> None:
    """Draw nothing."""


def fake_ingress_of(service: IndexService) -> TwoModels:
    """Return the ingress of a service."""
    assert isinstance(service.fake_ingress, TwoModels)
    return service.fake_ingress


def index_of(service: IndexService) -> RemoteIndex:
    """Return the shards as an ingress sees them that has looked nothing up."""
    return RemoteIndex(service.shards("VectorIndex"))


def reembedding_of(service: IndexService) -> CollectionReembedding:
    """Return the re-embedding operations on a service."""
    return CollectionReembedding(service.as_running())


async def records_of(index: RemoteIndex) -> list[Record]:
    """Return all that is stored."""
    include: tuple[PointField, ...] = ("text", "metadata", "vector")
    page = await index.scroll(NAME, None, 1000, None, include, deadline=NEVER)
    return page.records


async def check(index: RemoteIndex, texts: dict[str, str], *, new: bool) -> None:
    """Assert that these texts are stored, with vectors of the new model or of the old one."""
    records = await records_of(index)
    assert {one.id: one.text for one in records} == texts
    assert all(one.metadata == {"text": one.text} for one in records)
    expected = (digits_of if new else vectors_of)([str(one.text) for one in records])
    assert [one.vector.tolist() for one in records if one.vector is not None] == expected.tolist()


def points_of(texts: dict[str, str]) -> Points:
    """Return points with vectors of the letters."""
    values = list(texts.values())
    metadata = [{"text": text} for text in values]
    return Points(list(texts), vectors_of(values), values, metadata)

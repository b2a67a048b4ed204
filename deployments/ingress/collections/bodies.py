"""The bodies of requests to collections, and of their responses."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from deployments.ingress.routing.parameters import CollectionPath
from deployments.ingress.wire.chunking import Chunking, ChunkRange
from deployments.ingress.wire.fields import Body, JsonObject, examples
from deployments.ingress.wire.inputs import VectorField
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_PAGE, MAX_WIDTH
from embedder.index.contract.points import Consistency, Metric, PointField

CollectionName = Annotated[str, CollectionPath(alias="name")]

CONSISTENCY = (
    "latest: with every write that was acknowledged before; stale: what a replica of the index "
    "has, also while its database does not answer"
)
ReadConsistency = Annotated[Consistency, Query(description=CONSISTENCY)]

MAX_INCLUDED = 16
"""Names in one ``include``, each of which is looked up for every point."""


class CollectionBody(Body):
    """The body of ``PUT /v1/collections/{name}``."""

    model_config = examples({"metric": "cosine", "index": "auto"})

    metric: Metric = Metric.COSINE
    index: IndexKind = Field(
        IndexKind.AUTO, description="auto: exact search, until that takes too long"
    )
    width: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="components of every vector; default: as in the first vector",
    )
    model: str | None = Field(None, description="the model for texts of requests that name none")


class PointBody(Body):
    """One point: an id, and a text or a vector."""

    id: str
    text: str | None = None
    vector: VectorField = None
    metadata: JsonObject = Field(default_factory=dict)


class UpsertBody(Body):
    """The body of ``POST …/points``; ids must be unique."""

    model_config = examples(
        {"points": [{"id": "a", "text": "hello world"}]},
        {"points": [{"id": "b", "text": "a long text"}], "chunking": {"size": 64}},
    )

    points: list[PointBody] = Field(min_length=1, fail_fast=True)
    model: str | None = None
    chunking: Chunking | None = Field(
        None,
        description="split the text of each point into chunks, which are stored as points in place "
        "of its earlier chunks",
    )


class ReadBody(Body):
    """The body of a read."""

    consistency: Consistency = Field("latest", description=CONSISTENCY)


class FilterBody(Body):
    """A body that may have a filter."""

    filter: JsonObject | None = Field(
        None,
        description="conditions on the metadata, like "
        '{"lang": "en", "year": {"$gte": 2000}, "$not": {"tags": "draft"}}',
    )


class IncludeBody(Body):
    """A body that selects the fields of each point."""

    include: list[PointField] = Field(
        default_factory=list,
        max_length=MAX_INCLUDED,
        fail_fast=True,
        description="fields of each point to return beside its id",
    )


class FetchBody(IncludeBody, ReadBody):
    """The body of ``POST …/points/fetch``."""

    model_config = examples({"ids": ["a"]})

    ids: list[str] = Field(min_length=1, fail_fast=True)


class DeleteBody(FilterBody):
    """The body of ``POST …/points/delete``: ids, documents or a filter."""

    model_config = examples(
        {"ids": ["a"]},
        {"documents": ["b"]},
        {"filter": {"lang": "en"}},
    )

    ids: list[str] | None = Field(None, min_length=1, fail_fast=True)
    documents: list[str] | None = Field(
        None,
        min_length=1,
        fail_fast=True,
        description="ids of texts that were stored with chunking: all their chunks, and points "
        "with these ids",
    )


class CountBody(FilterBody, ReadBody):
    """The body of ``POST …/points/count``."""

    model_config = examples(
        {},
        {"filter": {"year": {"$gte": 2000}}},
    )


class ScrollBody(FilterBody, IncludeBody, ReadBody):
    """The body of ``POST …/points/scroll``: a page of points in the order of their insertion."""

    model_config = examples({"limit": 10, "include": ["text"]})

    cursor: str | None = Field(None, description="from the previous page; default: the first page")
    limit: int = Field(100, ge=1, le=MAX_PAGE, strict=True)


class CollectionAnswer(BaseModel):
    """A collection; ``width`` is null until it has a vector."""

    name: str
    metric: Metric
    index: IndexKind
    model: str | None
    model_revision: str | None = Field(
        description="of the model that has embedded its texts; null before the first text"
    )
    model_digest: str | None = Field(description="SHA-256 of the weights of that model")
    model_pooling: str | None
    identity: str = Field(description="unique for each creation")
    width: int | None
    count: int
    sequence: int
    serving: str = Field(description="how its largest segment is searched at present")
    segments: int
    deleted: int = Field(description="deleted points that still use space")
    pending: int = Field(description="points that are not in a segment yet")


class StoredChunk(ChunkRange):
    """A chunk that was stored as the point ``id``; ``document`` is the id of its text."""

    id: str
    document: str

    def place(self) -> dict[str, Any]:
        """Return the place that the metadata of the point has."""
        return self.model_dump(include={"document", "number", "start", "end"})


class UpsertAnswer(BaseModel):
    """The number of points, and the sequence number of the collection afterwards."""

    upserted: int
    sequence: int
    chunks: list[StoredChunk] = Field([], description="only if the request has chunking")


class DeleteAnswer(BaseModel):
    """The number of deleted points, and the sequence number of the collection afterwards."""

    deleted: int
    sequence: int


class CountAnswer(BaseModel):
    """The number of points."""

    count: int


class Point(BaseModel):
    """A stored point, with the fields that were included."""

    id: str
    text: str | None = None
    metadata: dict[str, Any] | None = None
    vector: list[float] | None = None


class PointsAnswer(BaseModel):
    """Points; ids without a point are left out."""

    points: list[Point]


class PageAnswer(PointsAnswer):
    """A page of points; ``cursor`` is null on the last page."""

    cursor: str | None

"""The records of the index: stored points, queries, hits and descriptions of collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from embedder.core.types import SimilarityName, Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.sparse import SparseVector

PointField = Literal["vector", "text", "metadata"]
"""A field of a point that a response may include beside its id."""

PAYLOAD: tuple[PointField, ...] = ("text", "metadata")

Consistency = Literal["latest", "stale"]
"""What a read must contain: every write that was acknowledged before it began, or what its replica
has, which is also there while the database is not.
"""


class Metric(str, Enum):
    """The measure by which vectors are compared."""

    COSINE = "cosine"
    DOT = "dot"
    L2 = "l2"
    L1 = "l1"

    @property
    def is_distance(self) -> bool:
        """Return whether scores are negated distances."""
        return self in (Metric.L2, Metric.L1)

    @property
    def similarity(self) -> SimilarityName:
        """Return the name of the measure in `embedder.similarity`."""
        return _SIMILARITIES[self]


_SIMILARITIES: dict[Metric, SimilarityName] = {
    Metric.COSINE: "cosine",
    Metric.DOT: "dot",
    Metric.L2: "euclidean",
    Metric.L1: "manhattan",
}


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The model that computed the vectors of a collection.

    ``name`` is the name that clients used, ``digest`` the SHA-256 of its weights.
    """

    name: str
    revision: str
    digest: str
    pooling: str

    def is_same(self, other: StoredModel) -> bool:
        """Return whether both compute the same vectors; names are not compared."""
        mine = (self.revision, self.digest, self.pooling)
        return mine == (other.revision, other.digest, other.pooling)

    def __str__(self) -> str:
        return (
            f"{self.name!r} (revision {self.revision[:12]}, weights {self.digest[:12]}, "
            f"pooling {self.pooling})"
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """The properties of a collection to create; the first vector decides a ``width`` of None.

    ``model`` is the name that the creator stated, and ``stored`` the model that computed the
    vectors, None before the first text. ``identity`` is new for each creation and the same on all
    shards; None makes one.
    """

    metric: Metric = Metric.COSINE
    kind: IndexKind = IndexKind.AUTO
    width: int | None = None
    model: str | None = None
    stored: StoredModel | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one collection: ``vectors`` float32[n, d], and lists of n.

    ``sparse`` has the sparse vector of each point, None for a point that has none; without items,
    no point has one.
    ``documents`` are the ids of documents of which these points are all chunks: the write deletes
    their earlier chunks, and points that have these ids.
    """

    ids: Sequence[str]
    vectors: Vectors
    texts: Sequence[str | None]
    metadata: Sequence[dict[str, Any]]
    documents: Sequence[str] = ()
    sparse: Sequence[SparseVector | None] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the ``top_k`` points nearest to ``vector`` float32[d], or to the point ``id``.

    A search by id does not return the point itself. ``field`` is the name of the vector in errors.
    Points below the score ``threshold`` or outside ``filter`` are left out. A ``diversity`` above 0
    prefers points that differ from each other (see `embedder.similarity.mmr`). The search is
    refused if its hits take more than ``max_bytes`` in a response, or if the collection has another
    ``identity`` or records another ``model``; None is not compared.
    """

    collection: str
    vector: Vectors | None
    top_k: int
    field: str = "vector"
    id: str | None = None
    filter: Filter | None = None
    threshold: float | None = None
    diversity: float | None = None
    include: tuple[PointField, ...] = PAYLOAD
    max_bytes: int | None = None
    identity: str | None = None
    model: StoredModel | None = None
    consistency: Consistency = "latest"


# Not frozen: making ten hits takes a tenth of a fast search, and twice that if frozen.
@dataclass(slots=True)
class Hit:
    """A found point. ``score`` is larger for nearer; ``distance`` is None if the metric has none.

    Fields that the query did not include are None or empty.
    """

    id: str
    score: float
    distance: float | None
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A stored version of a point without its vector; ``metadata`` is JSON."""

    pk: int
    seq: int
    id: str
    text: str | None
    metadata: str


@dataclass(frozen=True, slots=True)
class Record:
    """A stored point; ``vector`` float32[d] is unchanged, and None if it was not included."""

    id: str
    text: str | None
    metadata: dict[str, Any]
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records in the order of their first insertion; ``cursor`` is None on the last page.

    ``size`` is the bytes that they take in a response, counted only if these are limited.
    """

    records: list[Record]
    cursor: str | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of deleted points, and the collection's sequence number afterwards."""

    count: int
    sequence: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """The description of a collection; ``width`` is None until it is stated or a vector is stored.

    ``kind`` is the requested kind, and ``serving`` that of the largest segment. ``deleted`` counts
    the deleted points that segments still hold, ``pending`` those that are in no segment yet.
    ``model`` is the stated name or that of the recorded model, whose other fields are None before
    the first text. ``identity`` is new for each creation.
    """

    name: str
    metric: Metric
    kind: str
    width: int | None
    count: int
    sequence: int
    model: str | None = None
    serving: str = "flat"
    segments: int = 0
    deleted: int = 0
    pending: int = 0
    model_revision: str | None = None
    model_digest: str | None = None
    model_pooling: str | None = None
    identity: str = field(default="", compare=False)

    @property
    def stored(self) -> StoredModel | None:
        """Return the model that computed the vectors, None before the first text."""
        return stored_model(self.model, self.model_revision, self.model_digest, self.model_pooling)


def stored_model(
    name: str | None, revision: str | None, digest: str | None, pooling: str | None
) -> StoredModel | None:
    """Return the recorded model, or None if any of its fields is unknown."""
    if name is None or revision is None or digest is None or pooling is None:
        return None
    return StoredModel(name, revision, digest, pooling)

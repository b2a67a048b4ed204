"""The records of the index: what is stored, asked and found.

Knows nothing of FAISS or of how records are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from embedder.core.types import SimilarityName, Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.kinds import IndexKind

PointField = Literal["vector", "text", "metadata"]
"""What of a point may come with an answer, beside its id."""

PAYLOAD: tuple[PointField, ...] = ("text", "metadata")


class Metric(str, Enum):
    """How near two vectors are."""

    COSINE = "cosine"
    DOT = "dot"
    L2 = "l2"
    L1 = "l1"

    @property
    def is_distance(self) -> bool:
        """Say whether scores are negated distances."""
        return self in (Metric.L2, Metric.L1)

    @property
    def similarity(self) -> SimilarityName:
        """Return what `embedder.similarity` calls the same measure."""
        return _SIMILARITIES[self]


_SIMILARITIES: dict[Metric, SimilarityName] = {
    Metric.COSINE: "cosine",
    Metric.DOT: "dot",
    Metric.L2: "euclidean",
    Metric.L1: "manhattan",
}


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The model that computed the vectors of a collection; ``name`` is what clients called it.

    ``digest`` is the SHA-256 of its weights.
    """

    name: str
    revision: str
    digest: str
    pooling: str

    def is_same(self, other: StoredModel) -> bool:
        """Say whether both compute the same vectors, whatever they are called."""
        return self._facts() == other._facts()

    def __str__(self) -> str:
        return (
            f"{self.name!r} (revision {self.revision[:12]}, weights {self.digest[:12]}, "
            f"pooling {self.pooling})"
        )

    def _facts(self) -> tuple[str, str, str]:
        return self.revision, self.digest, self.pooling


@dataclass(frozen=True, slots=True)
class Spec:
    """What a collection is made with; without a ``width`` its first vector decides.

    ``model`` is the name that the creator stated, and ``stored`` the model that computed the
    vectors, None before the first text. ``identity`` is new at each creation and the same in all
    shards; None: make one.
    """

    metric: Metric = Metric.COSINE
    kind: IndexKind = IndexKind.AUTO
    width: int | None = None
    model: str | None = None
    stored: StoredModel | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Some points of one collection: a row of ``vectors`` float32[n, d] and an id each."""

    ids: Sequence[str]
    vectors: Vectors
    texts: Sequence[str | None]
    metadata: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the ``top_k`` points nearest to ``vector`` float32[d], or to the point ``id``.

    The point itself is not found by its id. ``field`` is what the caller calls the vector, for
    errors. Points below the score ``threshold`` or outside ``filter`` are left out; a
    ``diversity`` above 0 prefers points that are unlike each other, as `embedder.similarity.mmr`
    says. Hits that take more than ``max_bytes`` in an answer are refused, and so is a search where
    the collection has another ``identity``, or records another model than ``model``, which computed
    the vector; None is not compared.
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


# Not frozen: ten of them are a tenth of a quick search, and twice that if they are.
@dataclass(slots=True)
class Hit:
    """A point that was found. ``score`` is larger for nearer; ``distance`` is None without one.

    What the query did not include is None, or empty.
    """

    id: str
    score: float
    distance: float | None
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A stored point; ``vector`` is float32[d] as it was given, and None where not included."""

    id: str
    text: str | None
    metadata: dict[str, Any]
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in the order of their first insertion; ``cursor`` is None after the last.

    ``size`` is what they take in an answer, where that is limited.
    """

    records: list[Record]
    cursor: str | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many points were deleted, and the collection's sequence number after that."""

    count: int
    sequence: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is known of a collection; ``width`` is None until it holds a vector.

    ``kind`` is what was asked for and ``serving`` what its largest segment is. ``dead`` counts the
    deleted points that segments still hold; ``pending`` those that are in no segment yet.
    ``model`` is the stated name or that of the recorded model, whose other fields are None before
    the first text. ``identity`` is new at each creation.
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
    dead: int = 0
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
    """Return the recorded model, or None where not all of it is known."""
    if name is None or revision is None or digest is None or pooling is None:
        return None
    return StoredModel(name, revision, digest, pooling)

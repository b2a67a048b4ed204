"""A client of the embedding service embedder."""

from embedder_client.async_client import AsyncClient
from embedder_client.client import Client, Collection
from embedder_client.errors import (
    AccessDenied,
    ClientError,
    ConnectionFailed,
    InvalidAnswer,
    InvalidRequest,
    NotFound,
    ServiceError,
    ServiceFailure,
    Unavailable,
)
from embedder_client.options import EmbedOptions
from embedder_client.points import AsyncCollection
from embedder_client.results import (
    Chunk,
    ChunkEmbeddings,
    Hit,
    Hits,
    OutputRows,
    Point,
    RankedText,
    SparseVector,
    Upserted,
)

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "AsyncCollection",
    "Chunk",
    "ChunkEmbeddings",
    "Client",
    "ClientError",
    "Collection",
    "ConnectionFailed",
    "EmbedOptions",
    "Hit",
    "Hits",
    "InvalidAnswer",
    "InvalidRequest",
    "NotFound",
    "OutputRows",
    "Point",
    "RankedText",
    "ServiceError",
    "ServiceFailure",
    "SparseVector",
    "Unavailable",
    "Upserted",
]

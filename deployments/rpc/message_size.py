"""The size limit of a call between replicas, and estimates of the sizes of calls.

With `RAY_SERVE_THROUGHPUT_OPTIMIZED` Serve sends calls by gRPC, which refuses a message above a
fixed size, in both directions. A call whose estimate is large goes through Ray's object store,
which has no such limit and is faster for large calls. A wrong estimate costs only time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from embedder.core.entries.blobs import ASSUMED_BYTES
from embedder.core.outputs import OutputKind
from embedder.core.types import ModelInfo
from embedder.index.contract.points import PointField, Points, Query
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery

LIMIT_VARIABLE = "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"
"""Ray reads the variable when a process starts; the value of the receiving process applies."""

CONFIGURED_BYTES = 64 * 2**20
"""The limit in a service that `embedder serve` or cluster.yaml starts.

It is above four request bodies, so that a call with a wrong estimate is rarely sent twice.
"""

LIMIT_BYTES = int(os.environ.get(LIMIT_VARIABLE, 4 * 2**20))
"""The limit of this process; the default is gRPC's."""

LARGE_BYTES = min(2**20, LIMIT_BYTES // 2)
"""Above this the object store is faster: 5 ms for 1 MiB and 7 ms for 3 MiB, gRPC 5 and 18 ms."""

GATHERED_BYTES = 4 * 2**20
"""Upper bound on a call that serves several requests. Larger calls are not faster, and small
requests would wait for large ones."""

CONTENT_BYTES = {"text": 1024, "metadata": 256}
"""Estimated bytes of a stored text and of its metadata."""

POINT_BYTES = 128
"""Estimated bytes of an id, a score, and the pickled record around them."""

SPARSE_BYTES = 2048
"""Estimated bytes of a sparse row: 256 weights with their ids, as SPLADE gives a paragraph."""

WEIGHT_BYTES = 8
"""The bytes of an id and its weight."""

TYPICAL_WIDTH = 1024
"""Assumed width of vectors when the collection's width is unknown."""


def points_bytes(points: Points) -> int:
    """Return the estimated bytes of an upsert, without the metadata."""
    ids = sum(len(vector) for vector in points.sparse if vector is not None)
    texts = sum(len(text) for text in points.texts if text is not None)
    return points.vectors.nbytes + texts + WEIGHT_BYTES * ids


def query_bytes(query: Query) -> int:
    """Return the estimated bytes of a query or of its answer, whichever is larger."""
    width = TYPICAL_WIDTH if query.vector is None else len(query.vector)
    return max(4 * width, records_bytes(query.top_k, query.include, width))


def text_query_bytes(query: TextQuery) -> int:
    """Return the estimated bytes of a query by words or of its answer, whichever is larger."""
    return max(len(query.text), records_bytes(query.top_k, query.include))


def sparse_query_bytes(query: SparseQuery) -> int:
    """Return the estimated bytes of a query by sparse weights or of its answer."""
    return max(WEIGHT_BYTES * len(query.weights), records_bytes(query.top_k, query.include))


def records_bytes(count: int, include: Sequence[PointField], width: int = TYPICAL_WIDTH) -> int:
    """Return the estimated bytes of stored points with the included fields."""
    content = sum(CONTENT_BYTES.get(part, 4 * width) for part in include)
    return count * (POINT_BYTES + content)


def rows_within(width: int, max_bytes: int = GATHERED_BYTES) -> int:
    """Return how many vectors of this width with their keys fit into a size; at least one.

    Width 0 means rows of different lengths, whose size is assumed.
    """
    return max(1, max_bytes // ((4 * width or ASSUMED_BYTES) + POINT_BYTES))


def tokens_within(info: ModelInfo, kinds: Sequence[OutputKind]) -> int:
    """Return how many tokens a call that serves several requests may have, for these kinds.

    ``kinds`` of () are the first output.
    """
    if OutputKind.TOKENS in (kinds or info.outputs[:1]):
        return max(1, GATHERED_BYTES // (4 * max(1, info.token_width)))
    return sys.maxsize


def outputs_bytes(info: ModelInfo, kinds: Sequence[OutputKind], inputs: int, tokens: int) -> int:
    """Return the estimated bytes of the rows of these kinds, of so many inputs and tokens."""
    sizes = {
        OutputKind.DENSE: 4 * info.width * inputs,
        OutputKind.SCORES: 4 * info.width * inputs,
        OutputKind.SPARSE: SPARSE_BYTES * inputs,
        OutputKind.TOKENS: 4 * info.token_width * tokens,
        OutputKind.CHUNKS: 4 * info.width * tokens,  # each chunk has a token of its own, or more
    }
    return sum(map(sizes.__getitem__, kinds))

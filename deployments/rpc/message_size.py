"""How large one call between replicas may be, and how large calls are expected to be.

With `RAY_SERVE_THROUGHPUT_OPTIMIZED` Serve sends calls by gRPC, which refuses a message above a
fixed size, in either direction. A call that is expected to be large goes through Ray's object
store, which has no such limit and is quicker for it. A wrong expectation costs time and never an
answer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from embedder.index.contract.points import PointField, Points, Query

LIMIT_VARIABLE = "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"
"""Ray reads it when a process starts: that of the receiver of a message counts."""

CONFIGURED_BYTES = 64 * 2**20
"""The limit of a service that `embedder serve` or cluster.yaml starts.

Above four request bodies, so that a call of an unexpected size is seldom sent twice.
"""

LIMIT_BYTES = int(os.environ.get(LIMIT_VARIABLE, 4 * 2**20))
"""The limit in force in this process: the default is that of gRPC."""

LARGE_BYTES = min(2**20, LIMIT_BYTES // 2)
"""Above this the object store is quicker: it took 5 ms for 1 MiB and 7 for 3 MiB, gRPC 5 and 18."""

GATHERED_BYTES = 4 * 2**20
"""Calls of several requests are gathered up to this size: larger ones are no quicker, and small
requests would wait for the large ones beside them."""

CONTENT_BYTES = {"text": 1024, "metadata": 256}
"""What a stored text and its metadata are expected to take."""

POINT_BYTES = 128
"""An id, a score, and the pickled record around them."""

TYPICAL_WIDTH = 1024
"""Of the vectors of a collection of which nothing is known."""


def points_bytes(points: Points) -> int:
    """Return the bytes that an upsert is expected to take, metadata aside."""
    return points.vectors.nbytes + sum(len(text) for text in points.texts if text is not None)


def query_bytes(query: Query) -> int:
    """Return the bytes that the larger of a query and its answer is expected to take."""
    width = TYPICAL_WIDTH if query.vector is None else len(query.vector)
    return max(4 * width, records_bytes(query.top_k, query.include, width))


def records_bytes(count: int, include: Sequence[PointField], width: int = TYPICAL_WIDTH) -> int:
    """Return the bytes that stored points, with what comes with each, are expected to take."""
    content = sum(CONTENT_BYTES.get(part, 4 * width) for part in include)
    return count * (POINT_BYTES + content)


def rows_within(width: int, most_bytes: int = GATHERED_BYTES) -> int:
    """Return how many vectors of this width, with a key each, stay within a size; at least one."""
    return max(1, most_bytes // (4 * width + POINT_BYTES))

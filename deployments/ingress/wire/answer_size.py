"""Estimates the size of a response, to refuse before any work what exceeds the limit.

Estimates use the average length of a number, so a response may be some percent larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from starlette.responses import Response

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.formats import EncodingFormat, Format
from deployments.ingress.wire.quantization import OutputDtype
from deployments.settings.service import IngressLimits
from embedder.core.errors import LimitExceeded
from embedder.core.outputs import Task
from embedder.index.contract.limits import MAX_WIDTH
from embedder.index.contract.response_budget import NUMBER_BYTES

NEIGHBOUR_BYTES = 45
"""A result of a similarity: ``{"index":12345,"score":0.123456789},``."""

ITEM_BYTES = 64
"""Bytes around one vector."""

_COMPONENTS: Mapping[OutputDtype, tuple[float, float]] = {
    OutputDtype.FLOAT32: (NUMBER_BYTES, 4),
    OutputDtype.FLOAT16: (NUMBER_BYTES, 2),
    OutputDtype.INT8: (5, 1),
    OutputDtype.UINT8: (4, 1),
    OutputDtype.BINARY: (5 / 8, 1 / 8),
    OutputDtype.UBINARY: (4 / 8, 1 / 8),
}
"""Bytes of one component as a number in JSON, and in memory."""


@cache
def component_bytes(dtype: OutputDtype, kind: Format, encoding: EncodingFormat) -> float:
    """Return the bytes of one component of an embedding in a response."""
    as_number, in_memory = _COMPONENTS[dtype]
    if kind is not Format.JSON:
        return in_memory
    return as_number if encoding == "float" else in_memory * 4 / 3


def check_size(field: str, size: float, limits: IngressLimits) -> None:
    """Check the size in bytes of a response; ``field`` is the field that determines it.

    Raises:
        LimitExceeded: the size is above ``max_response_bytes``.
    """
    if size > limits.max_response_bytes:
        unit = "bytes in its answer (max_response_bytes)"
        raise LimitExceeded(field, unit, round(size), limits.max_response_bytes)


def check_response_size(field: str, response: Response, limits: IngressLimits) -> Response:
    """Return a response if its size is within the limit.

    It may be larger than estimated: ids may need escapes, and index shards check separately.

    Raises:
        LimitExceeded: the size is above ``max_response_bytes``.
    """
    check_size(field, int(response.headers["content-length"]), limits)
    return response


class VectorsBody(Protocol):
    """A body that requests vectors of a model."""

    model: str | None
    dimensions: int | None


async def check_embeddings(
    service: Service,
    context: RequestContext,
    body: VectorsBody,
    field: str,
    count: int,
    component: float = NUMBER_BYTES,
) -> None:
    """Check the size of a response with ``count`` embeddings of ``component`` bytes per component.

    ``field`` is the field of the request that determines the count.

    Raises:
        LimitExceeded: the size is above ``max_response_bytes``.
        EmbedderError: as `Service.model`.
    """
    limits = service.settings.limits
    if count * (MAX_WIDTH * component + ITEM_BYTES) <= limits.max_response_bytes:
        return  # within the limit for the width of any model
    width = body.dimensions
    if width is None:
        model = await service.model(body.model, task=Task.EMBED, deadline=context.deadline)
        width = model.width
    check_size(field, count * (width * component + ITEM_BYTES), limits)

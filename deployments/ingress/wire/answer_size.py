"""Estimates the size of a response, to refuse before any work what exceeds the limit.

Estimates use the average length of a number, so a response may be some percent larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    @property
    def model(self) -> str | None:
        """Return the name of the model."""

    @property
    def dimensions(self) -> int | None:
        """Return the number of components to keep."""


@dataclass(frozen=True, slots=True)
class VectorsSize:
    """How many vectors a response has: ``count``, which a field of the request determines.

    A component has ``component`` bytes. The rest of the response has ``other`` bytes.
    """

    field: str
    count: int
    component: float = NUMBER_BYTES
    other: int = 0

    def bytes(self, width: int) -> float:
        """Return the bytes of the response for vectors of a width."""
        return self.count * (width * self.component + ITEM_BYTES) + self.other


async def check_embeddings(
    service: Service, context: RequestContext, body: VectorsBody, size: VectorsSize
) -> None:
    """Check the size of a response with vectors, whose width may be that of the model.

    Raises:
        LimitExceeded: the size is above ``max_response_bytes``.
        EmbedderError: as `Service.model`.
    """
    limits = service.settings.limits
    if size.bytes(MAX_WIDTH) <= limits.max_response_bytes:
        return  # within the limit for the width of any model
    width = body.dimensions
    if width is None:
        model = await service.model(body.model, task=Task.EMBED, deadline=context.deadline)
        width = model.width
    check_size(size.field, size.bytes(width), limits)

"""Limits the bytes that stored points take in a JSON response.

A response with too many points is refused before anything is read. Texts and metadata are counted
as they are read, and reading stops at the first point that exceeds the limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from embedder.core.errors import LimitExceeded
from embedder.index.contract.points import PAYLOAD, Payload, PointField

NUMBER_BYTES = 13
"""A float32 in JSON, with its comma."""

POINT_BYTES = 96
"""An id and a score, with the JSON around them."""

UNIT = "bytes or more in its answer (max_response_bytes)"


class ResponseBudget:
    """Counts the bytes of points with the fields in ``include``.

    ``max_bytes`` None sets no limit; ``field`` is the request field that errors name.
    """

    def __init__(
        self,
        include: Sequence[PointField] = PAYLOAD,
        *,
        max_bytes: int | None = None,
        width: int | None = None,
        field: str = "limit",
    ) -> None:
        self.include = include
        self.used = 0
        self.max_bytes = max_bytes
        self._field = field
        self._each = POINT_BYTES + (NUMBER_BYTES * (width or 0) if "vector" in include else 0)

    def check(self, count: int) -> None:
        """Refuse a number of points that is too large even without texts and metadata.

        Raises:
            LimitExceeded: the points take more than ``max_bytes``.
        """
        if self.max_bytes is not None and count * self._each > self.max_bytes:
            raise LimitExceeded(self._field, UNIT, count * self._each, self.max_bytes)

    def add(self, point: Payload) -> bool:
        """Count a point, and return whether it is within the limit."""
        if self.max_bytes is None:
            return True
        self.used += self._each
        if "text" in self.include and point.text is not None:
            self.used += len(orjson.dumps(point.text))
        if "metadata" in self.include:
            self.used += len(point.metadata.encode())
        return self.used <= self.max_bytes

    def require(self, point: Payload) -> None:
        """Count a point.

        Raises:
            LimitExceeded: the points so far take more than ``max_bytes``.
        """
        if not self.add(point):
            raise LimitExceeded(self._field, UNIT, self.used, self.max_bytes or 0)

    def within(self, points: Iterable[Payload]) -> Iterator[Payload]:
        """Yield and count points.

        Raises:
            LimitExceeded: the points so far take more than ``max_bytes``.
        """
        for point in points:
            self.require(point)
            yield point

    def page(self, points: Iterable[Payload], limit: int) -> tuple[list[Payload], bool]:
        """Return the first points within both limits, at least one, and whether more follow."""
        shown: list[Payload] = []
        for point in points:
            if len(shown) == limit or (not self.add(point) and shown):
                return shown, True
            shown.append(point)
        return shown, False

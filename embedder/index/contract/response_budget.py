"""How many bytes stored points add in an answer as JSON, and the max_bytes that an answer may add.

Too many points are refused before anything is read. Texts and metadata are counted as they are
read, and reading ends with the first that is too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import orjson

from embedder.core.errors import LimitExceeded
from embedder.index.contract.points import PAYLOAD, PointField

NUMBER_BYTES = 13
"""A float32 in JSON, with its comma."""

POINT_BYTES = 96
"""An id, a score, and what stands around them."""

UNIT = "bytes or more in its answer (max_response_bytes)"


class HasContent(Protocol):
    """A stored point; ``metadata`` is JSON."""

    @property
    def text(self) -> str | None:
        """Return its text."""

    @property
    def metadata(self) -> str:
        """Return its metadata."""


PointT = TypeVar("PointT", bound=HasContent)


class ResponseBudget:
    """The bytes that an answer may still add, of points with what ``include`` names.

    ``max_bytes`` is None where there is no limit; ``field`` is what asks for too much, for errors.
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
        self._most = max_bytes
        self._field = field
        self._each = POINT_BYTES + (NUMBER_BYTES * (width or 0) if "vector" in include else 0)

    def check(self, count: int) -> None:
        """Refuse so many points that are too much even without their texts and metadata.

        Raises:
            LimitExceeded: as said.
        """
        if self._most is not None and count * self._each > self._most:
            raise LimitExceeded(self._field, UNIT, count * self._each, self._most)

    def add(self, point: HasContent) -> bool:
        """Count a point, and say whether there was room for it."""
        if self._most is None:
            return True
        self.used += self._each
        if "text" in self.include and point.text is not None:
            self.used += len(orjson.dumps(point.text))
        if "metadata" in self.include:
            self.used += len(point.metadata.encode())
        return self.used <= self._most

    def require(self, point: HasContent) -> None:
        """Count a point, and refuse it where there is no room.

        Raises:
            LimitExceeded: as said.
        """
        if not self.add(point):
            raise LimitExceeded(self._field, UNIT, self.used, self._most or 0)

    def within(self, points: Iterable[PointT]) -> Iterator[PointT]:
        """Yield points as long as there is room.

        Raises:
            LimitExceeded: there is none for the next.
        """
        for point in points:
            self.require(point)
            yield point

    def page(self, points: Iterable[PointT], limit: int) -> tuple[list[PointT], bool]:
        """Return the points there is room for, one at least, and whether there are more."""
        shown: list[PointT] = []
        for point in points:
            if len(shown) == limit or (not self.add(point) and shown):
                return shown, True
            shown.append(point)
        return shown, False

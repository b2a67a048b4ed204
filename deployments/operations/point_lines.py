"""Points read from lines of JSON; errors name the number of the line.

A line is an object with the fields of a point in the HTTP API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from deployments.ingress.collections.bodies import PointBody
from deployments.ingress.errors.responses import UNKNOWN_FIELD
from deployments.ingress.wire.inputs import to_vector
from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors
from embedder.index.contract.checks import check_metadata

_ITEM = re.compile(r"(?:points|input)\[(\d+)\](.*)")


@dataclass(frozen=True, slots=True)
class PointLine:
    """The point of one line: with a ``vector`` float32[d], or with a text alone."""

    number: int
    id: str
    text: str | None
    vector: Vectors | None
    metadata: dict[str, Any]


def read_points(lines: Iterable[tuple[int, str]]) -> Iterator[PointLine]:
    """Yield the points of numbered lines; skip empty lines.

    Raises:
        InvalidInput: a line is not JSON, has neither text nor vector, or has metadata that cannot
            be stored.
    """
    for number, line in lines:
        if line.strip():
            yield _point(number, line)


@contextmanager
def naming_lines(numbers: Sequence[int]) -> Iterator[None]:
    """Make errors about an item of a batch name the line of the item."""
    try:
        yield
    except InvalidInput as error:
        match = _ITEM.fullmatch(error.field)
        if match is None:
            raise
        raise error.with_field(f"line {numbers[int(match[1])]}{match[2]}") from None


def _point(number: int, line: str) -> PointLine:
    where = f"line {number}"
    try:
        body = PointBody.model_validate(orjson.loads(line))
    except ValidationError as error:
        problem = error.errors()[0]
        unknown = [problem["ctx"]["field"]] if problem["type"] == UNKNOWN_FIELD else []
        field = ".".join((where, *map(str, (*problem["loc"], *unknown))))
        raise InvalidInput(field, f"is invalid: {problem['msg']}") from None
    except ValueError as error:
        raise InvalidInput(where, f"is not JSON: {error}") from None
    with naming_lines([number]):
        # Before points are sent, because pickle fails on values that are nested too deeply.
        check_metadata([body.metadata])
    vector = None if body.vector is None else to_vector(body.vector, f"{where}.vector")
    if vector is None and body.text is None:
        raise InvalidInput(where, "must have a text or a vector")
    return PointLine(number, body.id, body.text, vector, body.metadata)

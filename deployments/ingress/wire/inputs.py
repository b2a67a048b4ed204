"""Converts JSON values to texts, token ids and vectors, with errors that name the place.

Not as pydantic unions, because a wrong item among thousands must give one clear message. Lists of
numbers are converted `CHUNK` at a time, because numpy holds the interpreter lock meanwhile, and
large bodies are converted in a thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import PlainValidator, WithJsonSchema

from embedder.core.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.core.types import Input, Vectors

CHUNK = 16_384
"""Numbers that are checked or converted in one call, which takes about 1 ms."""

SHORT = 512
"""Token ids up to which an input stays a list; a longer one becomes an array for faster checks."""

ID = {"type": "integer", "minimum": 0}
IDS = {"type": "array", "items": ID, "minItems": 1}
TEXT = {"type": "string", "minLength": 1}
NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 1}
BASE64 = {"type": "string", "contentEncoding": "base64"}

VectorField = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A vector: numbers, or little-endian float32 in base64.",
            "oneOf": [NUMBERS, BASE64],
        }
    ),
]


def check_count(field: str, count: int, limit: int) -> None:
    """Check the length of a list.

    Raises:
        InvalidInput: it is empty.
        LimitExceeded: it is longer than ``limit``.
    """
    if count == 0:
        raise InvalidInput(field, "must not be empty")
    if count > limit:
        raise LimitExceeded(field, "items", count, limit)


def to_inputs(value: Any, *, field: str = "input") -> list[Input]:
    """Convert OpenAI's ``input``; a plain list of integers is one input of token ids.

    A list of more than `SHORT` token ids becomes int64[n], unless one of them has no int64.

    Raises:
        InvalidInput: it is empty or of another type; the error names the item of ``field``.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidInput(field, f"must be a string or a list, not {_kind(value)}")
    if not value:
        raise InvalidInput(field, "must not be empty")
    if _is_id(value[0]):
        return [_to_ids(field, value)]
    inputs: list[Input] = []
    for row, item in enumerate(value):
        if isinstance(item, list):
            inputs.append(_to_ids(f"{field}[{row}]", item))
        elif isinstance(item, str):
            inputs.append(item)
        else:
            raise InvalidInput(
                f"{field}[{row}]", f"must be a string or a list of token ids, not {_kind(item)}"
            )
    return inputs


InputField = Annotated[
    list[Input],
    PlainValidator(to_inputs),
    WithJsonSchema(
        {
            "description": "A text, a list of texts, token ids of the model's vocabulary "
            "(special tokens included), or a list of such.",
            "oneOf": [
                TEXT,
                IDS,
                {"type": "array", "items": TEXT, "minItems": 1},
                {"type": "array", "items": IDS, "minItems": 1},
            ],
        }
    ),
]


def to_vector(value: Any, field: str) -> Vectors:
    """Convert one vector to float32[d].

    Raises:
        InvalidVector: it is empty, or not a vector of numbers.
    """
    if isinstance(value, str):
        vector = _from_base64(value, field)
    elif isinstance(value, list):
        vector = _from_numbers(value, field)
    else:
        raise InvalidVector(field, f"must be a list of numbers or base64, not {_kind(value)}")
    if len(vector) == 0:
        raise InvalidVector(field, "must not be empty")
    return vector


def to_vectors(value: Any, field: str) -> Vectors:
    """Convert a list of vectors to float32[n, d].

    Raises:
        InvalidVector: the list is empty, an item is not a vector of numbers, a component is out of
            the range of float32, or widths differ; the error names the item of ``field``.
    """
    if not isinstance(value, list):
        raise InvalidVector(field, f"must be a list of vectors, not {_kind(value)}")
    if not value:
        raise InvalidVector(field, "must not be empty")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        vectors = _to_table(value) if _is_table(value) else _one_by_one(value, field)
    if not np.isfinite(vectors).all():
        row, at = np.argwhere(~np.isfinite(vectors))[0].tolist()
        raise InvalidVector(f"{field}[{row}][{at}]", "is no finite number in float32")
    return vectors


def _is_table(value: list[Any]) -> bool:
    """Return whether all items are lists of numbers of one length; faster than item by item."""
    if set(map(type, value)) != {list} or len(set(map(len, value))) > 1:
        return False
    return len(value[0]) > 0 and all(set(map(type, row)) <= {int, float} for row in value)


def _to_table(rows: list[list[Any]]) -> Vectors:
    step = max(1, CHUNK // len(rows[0]))
    chunks = [np.asarray(rows[at : at + step], np.float32) for at in range(0, len(rows), step)]
    return np.concatenate(chunks)


def _one_by_one(value: list[Any], field: str) -> Vectors:
    rows = [to_vector(item, f"{field}[{row}]") for row, item in enumerate(value)]
    width = len(rows[0])
    for row, vector in enumerate(rows):
        if len(vector) != width:
            raise InvalidVector(
                f"{field}[{row}]", f"has {len(vector)} components; {field}[0] has {width}"
            )
    return np.stack(rows)


def _from_base64(value: str, field: str) -> Vectors:
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidVector(field, "is not valid base64") from None
    if len(data) % 4:
        raise InvalidVector(field, f"has {len(data)} bytes, which is no whole number of float32")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _from_numbers(value: Sequence[Any], field: str) -> Vectors:
    for at, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InvalidVector(f"{field}[{at}]", f"must be a number, not {_kind(number)}")
    with np.errstate(over="ignore"):  # becomes infinite, which the index refuses
        return _converted(value, np.float64).astype(np.float32)


def _to_ids(field: str, ids: list[Any]) -> Sequence[int]:
    if not all(set(map(type, chunk)) == {int} for chunk in _chunks(ids)):
        at, token = next((at, token) for at, token in enumerate(ids) if not _is_id(token))
        raise InvalidInput(f"{field}[{at}]", f"must be a token id, not {_kind(token)}")
    if len(ids) <= SHORT:
        return ids
    try:
        return cast("Sequence[int]", _converted(ids, np.int64))
    except OverflowError:
        return ids  # refused later with its place, like every id outside the vocabulary


def _converted(numbers: Sequence[Any], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate([np.asarray(chunk, dtype) for chunk in _chunks(numbers)] or [np.empty(0)])


def _chunks(numbers: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    if value is None:
        return "null"
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")

"""JSON values to the library's inputs: texts, token ids and vectors, with errors that say where.

Written by hand rather than as pydantic unions: one wrong item among thousands must give one clear
sentence, and large arrays must not become a Python object a number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import WithJsonSchema

from embedder.errors import InvalidInput, InvalidVector
from embedder.types import Input, Vectors

_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXT = {"type": "string", "minLength": 1}

InputField = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A text, a list of texts, token ids of the model's vocabulary "
            "(special tokens included), or a list of such.",
            "oneOf": [
                _TEXT,
                _IDS,
                {"type": "array", "items": _TEXT, "minItems": 1},
                {"type": "array", "items": _IDS, "minItems": 1},
            ],
        }
    ),
]

VectorField = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A vector: numbers, or little-endian float32 in base64.",
            "oneOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1},
                {"type": "string", "contentEncoding": "base64"},
            ],
        }
    ),
]


def to_inputs(value: Any, field: str = "input") -> list[Input]:
    """Read OpenAI's ``input``: a bare list of integers is one input of token ids.

    Raises:
        InvalidInput: it is empty or of another shape; the error names the item of ``field``.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidInput(field, f"must be a string or a list, not {_kind(value)}")
    if not value:
        raise InvalidInput(field, "must not be empty")
    if _is_id(value[0]):
        _check_ids(field, value)
        return [value]
    for row, item in enumerate(value):
        if isinstance(item, list):
            _check_ids(f"{field}[{row}]", item)
        elif not isinstance(item, str):
            raise InvalidInput(
                f"{field}[{row}]", f"must be a string or a list of token ids, not {_kind(item)}"
            )
    return value


def to_vector(value: Any, field: str) -> Vectors:
    """Read one vector as float32[d].

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
    """Read a list of vectors as float32[n, d].

    Raises:
        InvalidVector: there are none, one is no vector of numbers or has a component that float32
            does not hold, or their widths differ; the error names the item of ``field``.
    """
    if not isinstance(value, list):
        raise InvalidVector(field, f"must be a list of vectors, not {_kind(value)}")
    if not value:
        raise InvalidVector(field, "must not be empty")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused below
        vectors = np.asarray(value, np.float32) if _is_table(value) else _one_by_one(value, field)
    if not np.isfinite(vectors).all():
        row, at = np.argwhere(~np.isfinite(vectors))[0].tolist()
        raise InvalidVector(f"{field}[{row}][{at}]", "is no finite number in float32")
    return vectors


def _is_table(value: list[Any]) -> bool:
    """Tell whether these are lists of numbers of one length, faster than by looking at each."""
    if set(map(type, value)) != {list} or len(set(map(len, value))) > 1:
        return False
    return len(value[0]) > 0 and set(map(type, chain.from_iterable(value))) <= {int, float}


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
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which the index refuses
        return np.asarray(value, np.float64).astype(np.float32)


def _check_ids(field: str, ids: Sequence[Any]) -> None:
    for at, token in enumerate(ids):
        if not _is_id(token):
            raise InvalidInput(f"{field}[{at}]", f"must be a token id, not {_kind(token)}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    if value is None:
        return "null"
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")

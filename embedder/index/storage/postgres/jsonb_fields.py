"""Metadata and operands of filters as jsonb, in which PostgreSQL compares them as filters mean.

jsonb refuses U+0000 and keeps numbers as decimals of any length. Strings are therefore escaped, and
numbers written so that their decimals are equal and in order exactly where the numbers are.
"""

from __future__ import annotations

from typing import Any

import orjson


def fields_of(metadata: str) -> str | None:
    """Return the jsonb of metadata in JSON; None for metadata without fields."""
    value = orjson.loads(metadata)
    return as_jsonb(value) if value else None


def as_jsonb(value: Any) -> str:
    """Return the jsonb of a decoded JSON value."""
    return orjson.dumps(_canonical(value)).decode()


def escaped(text: str) -> str:
    """Return a text without U+0000; distinct texts stay distinct, and in order."""
    return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")


def _canonical(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {escaped(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    return _number(value)


def _number(value: float) -> float:
    """Return an equal number whose shortest decimal is also in order with those of integers.

    An integer beyond 64 bits stands for the nearest double. A shortest decimal lies nearer to its
    double than to any other, which keeps doubles in order. From 2**53 on, however, integers lie
    between doubles: there, a double within 64 bits is written with all of its digits.
    """
    if not -(2**63) <= value < 2**63:
        return float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value

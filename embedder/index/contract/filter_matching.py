"""Whether metadata meets a filter: the meaning of every condition, in plain Python.

Knows nothing of SQL, which has to give the same answers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from embedder.index.contract.filters import (
    And,
    Compare,
    Constant,
    Exists,
    FieldPath,
    Filter,
    Not,
    OneOf,
    Or,
    Order,
    comparable,
)

ORDERS: dict[Order, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_ABSENT = object()


def matches(condition: Filter, metadata: dict[str, Any]) -> bool:
    """Say whether ``metadata``, as JSON is read, meets the filter."""
    match condition:
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
        case Exists(path):
            return _at(path, metadata) is not _ABSENT
        case OneOf(path):
            return any(_is_one_of(condition, value) for value in _values(path, metadata))
        case Compare(path):
            return any(_compares(condition, value) for value in _values(path, metadata))


def _at(path: FieldPath, metadata: dict[str, Any]) -> Any:
    value: Any = metadata
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _values(path: FieldPath, metadata: dict[str, Any]) -> list[Any]:
    found = _at(path, metadata)
    return found if isinstance(found, list) else [found]


def _is_one_of(condition: OneOf, value: Any) -> bool:
    if isinstance(value, str):
        return value in condition.strings
    if value is None or isinstance(value, bool):
        return _constant(value) in condition.constants
    return isinstance(value, (int, float)) and comparable(value) in condition.numbers


def _constant(value: bool | None) -> Constant:
    if value is None:
        return "null"
    return "true" if value else "false"


def _compares(condition: Compare, value: Any) -> bool:
    if isinstance(condition.bound, str):
        return isinstance(value, str) and ORDERS[condition.order](value, condition.bound)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return ORDERS[condition.order](comparable(value), condition.bound)

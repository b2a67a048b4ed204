"""Matches filters in their JSON form against metadata, without code of the library."""

from __future__ import annotations

import operator
from typing import Any

ABSENT = object()
ORDERS = {"$lt": operator.lt, "$lte": operator.le, "$gt": operator.gt, "$gte": operator.ge}


def matches(given: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Return whether metadata matches a filter that a client may write."""
    return all(_entry(key, value, metadata) for key, value in given.items())


def _entry(key: str, value: Any, metadata: dict[str, Any]) -> bool:
    if key == "$not":
        return not matches(value, metadata)
    if key in ("$and", "$or"):
        found = [matches(part, metadata) for part in value]
        return all(found) if key == "$and" else any(found)
    operators = value if isinstance(value, dict) else {"$eq": value}
    found = _lookup(_keys(key), metadata)
    return all(_holds(name, operand, found) for name, operand in operators.items())


def _keys(field: str) -> list[str]:
    keys, escaped = [""], False
    for character in field:
        if character == "." and not escaped:
            keys.append("")
        elif character == "\\" and not escaped:
            escaped = True
            continue
        else:
            keys[-1] += character
        escaped = False
    return keys


def _lookup(keys: list[str], metadata: Any) -> Any:
    for key in keys:
        if not isinstance(metadata, dict) or key not in metadata:
            return ABSENT
        metadata = metadata[key]
    return metadata


def _holds(name: str, operand: Any, found: Any) -> bool:
    if name == "$exists":
        return (found is not ABSENT) is operand
    if name in ("$ne", "$nin"):
        return not _holds({"$ne": "$eq", "$nin": "$in"}[name], operand, found)
    values = found if isinstance(found, list) else [found]
    wanted = operand if name == "$in" else [operand]
    compare = ORDERS.get(name, operator.eq)
    return any(
        _kind(value) == _kind(one) and compare(_number(value), _number(one))
        for value in values
        for one in wanted
        if _kind(value) in ("text", "number") or name not in ORDERS
    )


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "constant"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, (int, float)) else "none"


def _number(value: Any) -> Any:
    """Return an integer of more than 64 bits as a double, and everything else as it is."""
    return float(value) if _kind(value) == "number" and not -(2**63) <= value < 2**63 else value

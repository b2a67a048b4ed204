"""Parses the filters that clients write in JSON.

    {"lang": "en", "year": {"$gte": 2000, "$lt": 2010}, "tag": {"$in": ["a", "b"]}}
    {"$or": [{"source.site": "example.org"}, {"$not": {"author": {"$exists": true}}}]}

All entries of an object have to hold, and all operators of a field; ``{}`` matches everything.
A dot leads into an object. A dot or backslash that is part of a key is escaped by a backslash, and
so is a dollar sign at the beginning of a field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.checks import byte_count
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
)
from embedder.index.contract.limits import MAX_KEY_CHARACTERS, MAX_METADATA_DEPTH

MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_VALUES = 1000
"""Values in the list of one ``$in`` or ``$nin``."""
MAX_FIELD_CHARACTERS = MAX_METADATA_DEPTH * (2 * MAX_KEY_CHARACTERS + 1)
"""Enough for every path through metadata, even if each character is escaped."""

COMBINERS = ("$and", "$or", "$not")
ORDERS: dict[str, Order] = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
OPERATORS = ("$eq", "$ne", "$in", "$nin", *ORDERS, "$exists")

_FIELD = re.compile(r"(?:[^\\]|\\[.\\$])*", re.DOTALL)
_KEY = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)


def parse(value: object, name: str = "filter") -> Filter:
    """Return the filter that ``value``, a decoded JSON value, stands for.

    ``name`` is the request field. Errors name the location in it: ``filter.$or[1].year.$gte``.

    Raises:
        InvalidInput: an operator is unknown, or its operand has the wrong type.
        LimitExceeded: there are too many levels, conditions, values, or characters in a field.
    """
    return _Parser(name).parse(value, name, 1)


class _Parser:
    """Parses one filter, and counts its conditions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.conditions = 0

    def parse(self, value: object, where: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise LimitExceeded(where, "levels above it", depth - 1, MAX_DEPTH - 1)
        conditions: list[Filter] = []
        for key, entry in _object(value, where).items():
            if key in COMBINERS:
                conditions.append(self._combined(key, entry, f"{where}.{key}", depth + 1))
            else:
                conditions.extend(self._conditions_on(key, entry, where))
        if not conditions and depth > 1:
            raise InvalidInput(where, "must not be empty")
        return conditions[0] if len(conditions) == 1 else And(tuple(conditions))

    def _combined(self, key: str, entry: object, where: str, depth: int) -> Filter:
        if key == "$not":
            return Not(self.parse(entry, where, depth))
        if not isinstance(entry, list) or not entry:
            raise InvalidInput(where, "must be a list of at least one filter")
        filters = tuple(self.parse(item, f"{where}[{n}]", depth) for n, item in enumerate(entry))
        return And(filters) if key == "$and" else Or(filters)

    def _conditions_on(self, field: str, entry: object, where: str) -> list[Filter]:
        path, conditions = _path(field, where), list[Filter]()
        operators = _object(entry, where) if isinstance(entry, dict) else {"$eq": entry}
        if not operators:
            raise InvalidInput(f"{where}.{field}", "must have at least one operator")
        for operator, operand in operators.items():
            self.conditions += 1
            if self.conditions > MAX_CONDITIONS:
                unit = "or more conditions"
                raise LimitExceeded(self.name, unit, self.conditions, MAX_CONDITIONS)
            here = f"{where}.{field}.{operator}" if operators is entry else f"{where}.{field}"
            conditions.append(_condition(path, operator, operand, here))
        return conditions


def _condition(path: FieldPath, operator: str, operand: object, where: str) -> Filter:
    match operator:
        case "$eq":
            return _one_of(path, [(operand, where)])
        case "$ne":
            return Not(_one_of(path, [(operand, where)]))
        case "$in":
            return _one_of(path, _listed(operand, where))
        case "$nin":
            return Not(_one_of(path, _listed(operand, where)))
        case "$exists":
            if not isinstance(operand, bool):
                raise InvalidInput(where, f"must be true or false, not {_kind(operand)}")
            return Exists(path) if operand else Not(Exists(path))
        case _ if operator in ORDERS:
            return Compare(path, ORDERS[operator], _bound(operand, where))
    raise InvalidInput(
        where,
        f"is not an operator; use one of {', '.join(OPERATORS)} (write a field of an object with "
        "a dot: a.b)",
    )


def _one_of(path: FieldPath, values: Iterable[tuple[object, str]]) -> OneOf:
    strings: set[str] = set()
    numbers: set[float] = set()
    constants: set[Constant] = set()
    for value, where in values:
        if isinstance(value, str):
            byte_count(value, where)
            strings.add(value)
        elif isinstance(value, bool):
            constants.add("true" if value else "false")
        elif value is None:
            constants.add("null")
        elif isinstance(value, (int, float)):
            numbers.add(_number(value, where))
        else:
            raise InvalidInput(where, f"must be text, number, boolean or null, not {_kind(value)}")
    return OneOf(path, frozenset(strings), frozenset(numbers), frozenset(constants))


def _listed(operand: object, where: str) -> list[tuple[object, str]]:
    if not isinstance(operand, list):
        raise InvalidInput(where, f"must be a list of values, not {_kind(operand)}")
    if len(operand) > MAX_VALUES:
        raise LimitExceeded(where, "values", len(operand), MAX_VALUES)
    return [(value, f"{where}[{n}]") for n, value in enumerate(operand)]


def _bound(operand: object, where: str) -> str | float:
    if isinstance(operand, str):
        byte_count(operand, where)
        return operand
    if isinstance(operand, (int, float)) and not isinstance(operand, bool):
        return _number(operand, where)
    raise InvalidInput(where, f"must be text or a number, not {_kind(operand)}")


def _number(value: float, where: str) -> float:
    try:
        # An integer beyond 64 bits is compared as the nearest double.
        number = value if -(2**63) <= value < 2**63 else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(where, "must be a number that double precision can hold")
    return number


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidInput(where, f"must be an object, not {_kind(value)}")
    if not set(map(type, value)) <= {str}:
        raise InvalidInput(where, "must have only texts as keys")
    return value


def _path(field: str, where: str) -> FieldPath:
    """Return the keys of a field of the object at ``where``."""
    if len(field) > MAX_FIELD_CHARACTERS:
        raise LimitExceeded(where, "characters in a field", len(field), MAX_FIELD_CHARACTERS)
    byte_count(field, where)
    here = f"{where}.{field}"
    if field.startswith("$"):
        operators = ", ".join(COMBINERS)
        raise InvalidInput(
            here, f"is not an operator; use one of {operators} (write a field $a as \\$a)"
        )
    if not _FIELD.fullmatch(field):
        raise InvalidInput(
            here, "has a backslash that is not followed by a dot, dollar sign or backslash"
        )
    keys = _KEY.findall(field)
    if len(keys) == 0 or ".".join(keys) != field:
        raise InvalidInput(here, "has an empty key; dots separate keys")
    if len(keys) > MAX_METADATA_DEPTH:
        raise LimitExceeded(here, "keys", len(keys), MAX_METADATA_DEPTH)
    path = tuple(re.sub(r"\\(.)", r"\1", key) for key in keys)
    if (longest := max(map(len, path))) > MAX_KEY_CHARACTERS:
        raise LimitExceeded(where, "characters in a key", longest, MAX_KEY_CHARACTERS)
    return path


def _kind(value: object) -> str:
    """Return the JSON name of the type of a value."""
    if value is None:
        return "null"
    kinds = ((bool, "a boolean"), (str, "text"), ((int, float), "a number"), (list, "a list"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "an object")

"""The parsed form of a filter: a tree of conditions on fields of metadata.

A field is a path of keys through objects. If it leads to an array, a condition holds if it holds
for one of the elements. If it leads nowhere, or to a value of another type than the operand, the
condition does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FieldPath = tuple[str, ...]
"""The keys that lead to a field, from the outermost object inwards."""

Constant = Literal["true", "false", "null"]
"""The JSON values that are neither text, number, array nor object."""

Order = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field equals one of the values, kept by type because 1 == True in Python."""

    path: FieldPath
    strings: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    constants: frozenset[Constant] = frozenset()


@dataclass(frozen=True, slots=True)
class Compare:
    """The field is ordered so relative to ``bound``; texts are ordered by code points."""

    path: FieldPath
    order: Order
    bound: str | float


@dataclass(frozen=True, slots=True)
class Exists:
    """The field exists, with any value, null included."""

    path: FieldPath


@dataclass(frozen=True, slots=True)
class And:
    """All conditions hold; an empty tuple always holds."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one condition holds; an empty tuple never holds."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Filter


Filter = And | Or | Not | OneOf | Compare | Exists

"""What a filter is once it has been read: a tree of conditions on fields of metadata.

A field is a path of keys through objects. Where it ends at an array, a condition on its value
holds if it holds of one of the elements; where it ends nowhere, or at a value of another type
than the one compared with, the condition does not hold. Knows neither JSON nor SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FieldPath = tuple[str, ...]
"""The keys that lead to a field, from the outermost object inwards."""

Constant = Literal["true", "false", "null"]
"""The values of JSON that are neither text, number, array nor object."""

Order = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field is one of the values, which are kept by type since Python takes 1 for true."""

    path: FieldPath
    strings: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    constants: frozenset[Constant] = frozenset()


@dataclass(frozen=True, slots=True)
class Compare:
    """The field comes before or after ``bound``; texts have the order of their code points."""

    path: FieldPath
    order: Order
    bound: str | float


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, whatever its value, null included."""

    path: FieldPath


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; without parts, always."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter = And | Or | Not | OneOf | Compare | Exists


def comparable(number: float) -> float:
    """Return a number as it counts: integers of more than 64 bits as the nearest double.

    Raises:
        OverflowError: an integer is beyond the largest double.
    """
    return number if -(2**63) <= number < 2**63 else float(number)

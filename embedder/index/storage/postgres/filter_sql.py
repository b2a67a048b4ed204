"""Compiles a filter to a condition of PostgreSQL on a column of jsonb.

The SQL holds no client text: keys and values are parameters. No part of a condition is null, so
that NOT negates each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from embedder.index.contract.filters import (
    And,
    Compare,
    Exists,
    FieldPath,
    Filter,
    Not,
    OneOf,
    Or,
)
from embedder.index.storage.postgres.jsonb_fields import as_jsonb, escaped

Parameters = dict[str, object]
"""The parameters of a statement, by name."""

FEW = 4
"""Values that are compared one by one; PostgreSQL looks more of them up in a hash table."""


def to_sql(condition: Filter, column: str) -> tuple[str, Parameters]:
    """Return a condition that is true or false for every row, and its parameters.

    ``column`` is trusted SQL that names a column as `fields_of` fills it; null has no fields. All
    names of parameters begin with ``filter_``.
    """
    compiler = _Compiler(column)
    return compiler.compiled(condition), compiler.parameters


class _Compiler:
    """Compiles one filter, and collects its parameters."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.parameters: Parameters = {}
        self._names: dict[tuple[str, str], str] = {}

    def compiled(self, condition: Filter) -> str:
        match condition:
            case And(conditions):
                return self._joined(" AND ", conditions) if conditions else "TRUE"
            case Or(conditions):
                return self._joined(" OR ", conditions) if conditions else "FALSE"
            case Not(inner):
                return f"NOT {self.compiled(inner)}"
            case Exists(path):
                return f"({self._field(path)} IS NOT NULL)"
            case OneOf():
                return self._one_of(condition)
            case Compare():
                return self._compare(condition)

    def _joined(self, word: str, conditions: Iterable[Filter]) -> str:
        return f"({word.join(map(self.compiled, conditions))})"

    def _field(self, path: FieldPath) -> str:
        """Return the value of a field, null where the path leaves the objects."""
        # A key is of type text: an integer would lead into an array.
        keys = [self._parameter(escaped(key), "text") for key in path]
        return f"({' -> '.join([self.column, *keys])})"

    def _one_of(self, condition: OneOf) -> str:
        constants = {"true": True, "false": False, "null": None}
        values: list[object] = [*sorted(condition.strings), *sorted(condition.numbers)]
        values.extend(constants[one] for one in sorted(condition.constants))
        field = self._field(condition.path)
        if len(values) <= FEW:
            # An array of jsonb contains its elements, and any other value itself.
            contained = [f"{field} @> {self._parameter(as_jsonb(one), 'jsonb')}" for one in values]
            return f"coalesce({' OR '.join(contained) or 'FALSE'}, FALSE)"
        listed = self._parameter(as_jsonb(values), "jsonb")
        return self._any(field, f"{{}} IN (SELECT jsonb_array_elements({listed}))")

    def _compare(self, condition: Compare) -> str:
        bound, order = condition.bound, condition.order
        if isinstance(bound, str):
            operand = self._parameter(escaped(bound), "text")
            test = "jsonb_typeof({0}) = 'string' AND ({0} #>> '{{}}') "
            test += f'COLLATE "C" {order} {operand}'
        else:
            operand = self._parameter(as_jsonb(bound), "jsonb")
            test = f"jsonb_typeof({{0}}) = 'number' AND {{0}} {order} {operand}"
        return self._any(self._field(condition.path), test)

    def _any(self, field: str, test: str) -> str:
        """Return the condition that a field, or an element of its array, passes a test."""
        elements = f"SELECT FROM jsonb_array_elements({field}) AS element(value)"
        element = f"EXISTS ({elements} WHERE {test.format('element.value')})"
        is_array = f"jsonb_typeof({field}) = 'array'"
        return f"coalesce(CASE WHEN {is_array} THEN {element} ELSE {test.format(field)} END, FALSE)"

    def _parameter(self, value: str, kind: str) -> str:
        """Return a parameter of a type, the same one for an equal value."""
        name = self._names.setdefault((value, kind), f"filter_{len(self._names)}")
        self.parameters[name] = value
        return f"%({name})s::{kind}"

"""Compiles a filter to a condition of SQLite on a column of JSON text.

The SQL holds no client text: keys and values are parameters. Values are JSON, so that SQLite reads
the numbers of a filter and of metadata in the same way. Fields are looked up by ``json_each``,
because a JSON path cannot name a key with a quotation mark, nor, in older versions, a key that JSON
escapes.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

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

_NUMBER = "IN ('integer', 'real')"
_OPERANDS = "(SELECT value FROM json_each(?))"

LEVELS_IN_ORDER = 10
"""Nested lists up to which SQLite evaluates conditions in the order that the client gave."""


def to_sql(condition: Filter, column: str) -> tuple[str, list[str]]:
    """Return a condition that is 0 or 1 for every row, and its parameters in order.

    ``column`` is trusted SQL that names the text of a JSON object; null has no fields. The database
    must store text as UTF-8, SQLite's default.
    """
    condition = _without_not(condition, negated=False)
    if _levels(condition) > LEVELS_IN_ORDER:
        condition = _largest_first(condition)
    return _compiled(condition, column)


# SQLite's parser has a stack of 100 entries. A condition on a field takes up to 50 of them, an
# opening parenthesis one, NOT one, and an item of a list two unless it is the first.


def selection(columns: str, condition: Filter | None, also: str = "") -> tuple[str, list[str]]:
    """Return SQL that selects the points of a collection that meet a filter, and its parameters.

    The parameters hold all client input. The first one of the statement is the collection, then
    come those of ``also``.
    """
    sql, parameters = ("1", []) if condition is None else to_sql(condition, "p.metadata")
    source = "FROM points AS p INDEXED BY points_by_pk WHERE p.collection = ?"
    return f"SELECT {columns} {source} {also} AND ({sql})", parameters


def _without_not(condition: Filter, *, negated: bool) -> Filter:
    """Return the condition or its negation, with NOT only before fields and nested lists flattened.

    Every condition on a field is 0 or 1, so De Morgan's laws hold.
    """
    match condition:
        case Not(inner):
            return _without_not(inner, negated=not negated)
        case And(conditions) | Or(conditions):
            kind = And if isinstance(condition, And) is not negated else Or
            found = (_without_not(one, negated=negated) for one in conditions)
            flat = tuple(
                inner
                for one in found
                for inner in (one.conditions if isinstance(one, kind) else [one])
            )
            return flat[0] if len(flat) == 1 else kind(flat)
    return Not(condition) if negated else condition


def _largest_first(condition: Filter) -> Filter:
    """Return the condition with the largest item of every list first.

    Every other item is then at most half of its list, so that with `MAX_CONDITIONS` conditions a
    field has an item before it in at most 8 of the lists around it.
    """
    if not isinstance(condition, (And, Or)):
        return condition
    ordered = sorted(condition.conditions, key=_size, reverse=True)
    return type(condition)(tuple(map(_largest_first, ordered)))


def _inner(condition: Filter) -> tuple[Filter, ...]:
    return condition.conditions if isinstance(condition, (And, Or)) else ()


def _levels(condition: Filter) -> int:
    return 1 + max(map(_levels, _inner(condition)), default=0)


def _size(condition: Filter) -> int:
    return sum(map(_size, _inner(condition))) or 1


def _compiled(condition: Filter, column: str) -> tuple[str, list[str]]:
    match condition:
        case And(conditions):
            return _joined(" AND ", conditions, column) if conditions else ("1", [])
        case Or(conditions):
            return _joined(" OR ", conditions, column) if conditions else ("0", [])
        case Not(inner):
            text, parameters = _compiled(inner, column)
            return f"NOT {text}", parameters
        case Exists(path):
            return _field(path, column, "", [])
        case OneOf(path):
            return _value(path, column, *_one_of(condition))
        case Compare(path):
            return _value(path, column, *_compare(condition))


def _joined(word: str, conditions: Iterable[Filter], column: str) -> tuple[str, list[str]]:
    found = [_compiled(one, column) for one in conditions]
    joined = word.join(text for text, _ in found)
    return f"({joined})", [one for _, parameters in found for one in parameters]


def _one_of(condition: OneOf) -> tuple[str, list[str]]:
    """Return a test of ``{at}.type`` and ``{at}.value``."""
    tests, parameters = ["0"], []
    if condition.strings:
        tests.append(f"{{at}}.type = 'text' AND {{at}}.value IN {_OPERANDS}")
        parameters.append(_json(_without_nul(one) for one in sorted(condition.strings)))
    if condition.numbers:
        tests.append(f"{{at}}.type {_NUMBER} AND {{at}}.value IN {_OPERANDS}")
        parameters.append(_json(sorted(condition.numbers)))
    tests.extend(f"{{at}}.type = '{constant}'" for constant in sorted(condition.constants))
    return " OR ".join(tests), parameters


def _compare(condition: Compare) -> tuple[str, list[str]]:
    """Return a test of ``{at}.type`` and ``{at}.value``."""
    bound, types = condition.bound, _NUMBER
    if isinstance(bound, str):
        bound, types = _without_nul(bound), "= 'text'"
    return f"{{at}}.type {types} AND {{at}}.value {condition.order} {_OPERANDS}", [_json([bound])]


def _value(path: FieldPath, column: str, test: str, parameters: list[str]) -> tuple[str, list[str]]:
    """Return the condition that the field, or an element of its array, passes the test."""
    field = f"field{len(path)}"
    elements = f"json_each(CASE {field}.type WHEN 'array' THEN {field}.value END) AS element"
    element = _exists(elements, test.format(at="element"))
    either = f" AND ({test.format(at=field)} OR {element})"
    return _field(path, column, either, [*parameters, *parameters])


def _field(path: FieldPath, column: str, test: str, parameters: list[str]) -> tuple[str, list[str]]:
    """Return the condition that the field exists and passes the test."""
    sources = [f"json_each({_column_without_nul(column)}) AS field1"]
    for depth in range(1, len(path)):
        # json_each fails on a text that is not JSON, and yields nothing for null.
        inner = f"CASE field{depth}.type WHEN 'object' THEN field{depth}.value END"
        sources.append(f"json_each({inner}) AS field{depth + 1}")
    keys = " AND ".join(f"field{depth}.key = ?" for depth in range(1, len(path) + 1))
    found = _exists(", ".join(sources), f"{keys}{test}")
    return found, [*map(_without_nul, path), *parameters]


def _exists(sources: str, test: str) -> str:
    return f"EXISTS (SELECT 1 FROM {sources} WHERE {test})"  # noqa: S608  parameters hold the rest


# SQLite 3.40 ends a JSON string at its first U+0000. Both sides are therefore rewritten, so that
# texts stay distinct and in order: U+0000 as U+0001 U+0001, and U+0001 as U+0001 U+0002. JSON
# escapes both; escaped backslashes are rewritten first, because one could look like such an escape.


def _without_nul(text: str) -> str:
    return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")


def _column_without_nul(column: str) -> str:
    replaced = rf"replace({column}, '\\', '\u005c')"
    replaced = rf"replace({replaced}, '\u0001', '\u0001\u0002')"
    replaced = rf"replace({replaced}, '\u0000', '\u0001\u0001')"
    return rf"CASE WHEN instr({column}, '\u000') THEN {replaced} ELSE {column} END"


def _json(values: Iterable[str | float]) -> str:
    return orjson.dumps(list(values)).decode()

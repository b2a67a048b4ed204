"""A filter as a condition of SQLite over a column of JSON text.

Nothing of a client's is part of the SQL: keys and values travel as parameters, values as JSON, so
that SQLite reads a number of the filter and one of the metadata in the same way. Fields are
looked up by ``json_each`` rather than by a path, since paths cannot name a key with a quotation
mark, nor, in older versions, one that JSON escapes. Knows nothing of tables or connections.
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
"""Lists in each other up to which their parts are tried in the order in which a client has them."""


def to_sql(condition: Filter, column: str) -> tuple[str, list[str]]:
    """Return a condition that is 0 or 1 for every row, and its parameters in order.

    ``column`` is SQL of the caller's own that names the text of a JSON object; where it is null
    there are no fields. The database must keep text as UTF-8, as SQLite does unless told otherwise.
    """
    condition = _without_not(condition, negated=False)
    if _levels(condition) > LEVELS_IN_ORDER:
        condition = _largest_first(condition)
    return _compiled(condition, column)


# SQLite's parser has a stack of 100 entries. A condition on a field takes up to 50 of them, an
# opening parenthesis one, NOT one, and a part of a list two where another stands before it.


def _without_not(condition: Filter, *, negated: bool) -> Filter:
    """Return the condition or its opposite, with NOT only before fields and no list in a like one.

    Every condition on a field is 0 or 1, so De Morgan's laws hold.
    """
    match condition:
        case Not(part):
            return _without_not(part, negated=not negated)
        case And(parts) | Or(parts):
            kind = And if isinstance(condition, And) is not negated else Or
            found = (_without_not(part, negated=negated) for part in parts)
            flat = tuple(
                inner for one in found for inner in (one.parts if isinstance(one, kind) else [one])
            )
            return flat[0] if len(flat) == 1 else kind(flat)
    return Not(condition) if negated else condition


def _largest_first(condition: Filter) -> Filter:
    """Return the condition with the largest part of every list in front.

    A part that is not in front is then at most half of its list, so that of `MAX_CONDITIONS` no
    more than 8 lists around a field have something before it.
    """
    if not isinstance(condition, (And, Or)):
        return condition
    parts = sorted(condition.parts, key=_size, reverse=True)
    return type(condition)(tuple(map(_largest_first, parts)))


def _levels(condition: Filter) -> int:
    parts = condition.parts if isinstance(condition, (And, Or)) else ()
    return 1 + max(map(_levels, parts), default=0)


def _size(condition: Filter) -> int:
    parts = condition.parts if isinstance(condition, (And, Or)) else ()
    return sum(map(_size, parts)) or 1


def _compiled(condition: Filter, column: str) -> tuple[str, list[str]]:
    match condition:
        case And(parts):
            return _joined(" AND ", parts, column) if parts else ("1", [])
        case Or(parts):
            return _joined(" OR ", parts, column) if parts else ("0", [])
        case Not(part):
            text, parameters = _compiled(part, column)
            return f"NOT {text}", parameters
        case Exists(path):
            return _field(path, column, "", [])
        case OneOf(path):
            return _value(path, column, *_one_of(condition))
        case Compare(path):
            return _value(path, column, *_compare(condition))


def _joined(word: str, parts: Iterable[Filter], column: str) -> tuple[str, list[str]]:
    found = [_compiled(part, column) for part in parts]
    together = word.join(text for text, _ in found)
    return f"({together})", [one for _, parameters in found for one in parameters]


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
    """Return a condition that the field, or an element of it, passes the test."""
    field = f"field{len(path)}"
    elements = f"json_each(CASE {field}.type WHEN 'array' THEN {field}.value END) AS element"
    element = _exists(elements, test.format(at="element"))
    either = f" AND ({test.format(at=field)} OR {element})"
    return _field(path, column, either, [*parameters, *parameters])


def _field(path: FieldPath, column: str, test: str, parameters: list[str]) -> tuple[str, list[str]]:
    """Return a condition that there is a field at the path, and that it passes the test."""
    sources = [f"json_each({_column_without_nul(column)}) AS field1"]
    for depth in range(1, len(path)):
        # What is no object is not always JSON, on which json_each would fail; of null it has none.
        inner = f"CASE field{depth}.type WHEN 'object' THEN field{depth}.value END"
        sources.append(f"json_each({inner}) AS field{depth + 1}")
    keys = " AND ".join(f"field{depth}.key = ?" for depth in range(1, len(path) + 1))
    found = _exists(", ".join(sources), f"{keys}{test}")
    return found, [*map(_without_nul, path), *parameters]


def _exists(sources: str, test: str) -> str:
    return f"EXISTS (SELECT 1 FROM {sources} WHERE {test})"  # noqa: S608  parameters hold the rest


# SQLite 3.40 ends a string of JSON at its first U+0000. So both sides are written without it, in a
# way that keeps texts apart and in order: U+0000 as U+0001 U+0001, and U+0001 as U+0001 U+0002. In
# JSON both are escapes, once no escaped backslash can be taken for the beginning of one.


def _without_nul(text: str) -> str:
    return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")


def _column_without_nul(column: str) -> str:
    replaced = rf"replace({column}, '\\', '\u005c')"
    replaced = rf"replace({replaced}, '\u0001', '\u0001\u0002')"
    replaced = rf"replace({replaced}, '\u0000', '\u0001\u0001')"
    return rf"CASE WHEN instr({column}, '\u000') THEN {replaced} ELSE {column} END"


def _json(values: Iterable[str | float]) -> str:
    return orjson.dumps(list(values)).decode()

"""SQLite finds exactly the rows whose metadata meets the filter, whatever is in either."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedder.index.filters import matches, parse, to_sql
from embedder.index.filters.conditions import And, Filter, Or
from embedder.index.filters.parsing import MAX_CONDITIONS, MAX_VALUES
from tests.unit.index.filters.test_matching import BOOK, DOES_NOT, HOLDS

TEXTS = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(
    [
        *("", "a", "ab", "b", "B", "é", "\0", "a\0", "a\0b", "a\x01", "\x01\0", "\x01\x02", "\x02"),
        *('"', "\\", "\\u0000", "\\\0", "'", "%", "$", ".", "\n", "\x7f", "\ue000", "🙂"),
        *("1", "true", "null", "{}", "[1]"),
    ]
)
NUMBERS = (
    st.sampled_from([0, -0.0, 1, 1.0, -1, 0.1, 1e22, 5e-324, 2.0**53, 2**53 + 1, 2**63 - 1, 2**63])
    | st.sampled_from([-(2**63), 2**64 - 1, 9.5, 1.7976931348623157e308, 2.5e-308])
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
KEYS = st.sampled_from(
    ["a", "b", "é", 'q"', "s\\", "d.d", "n\0", "\x01", "$x", "'", "🙂", "0", " "]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@st.composite
def filters(draw: st.DrawFn, metadata: dict[str, Any]) -> dict[str, Any]:
    """Draw a filter as a client writes it, of fields and values that are often there."""
    there = list(_fields(metadata)) or [(("a",), 1)]

    def on_a_field() -> dict[str, Any]:
        path, value = draw(st.sampled_from(there))
        if draw(st.integers(0, 3)) == 0:
            path = (*path, draw(KEYS))
        operand = value if draw(st.booleans()) and not isinstance(value, dict) else draw(SCALARS)
        return {_written(path): draw(_operators(operand))}

    def of_levels(levels: int) -> dict[str, Any]:
        kind = draw(st.integers(0, 5)) if levels else 5
        if kind == 0:
            return {"$not": of_levels(levels - 1)}
        if kind in (1, 2):
            count = draw(st.integers(1, 3))
            return {("$and", "$or")[kind - 1]: [of_levels(levels - 1) for _ in range(count)]}
        return on_a_field()

    return {**of_levels(3), **on_a_field()} if draw(st.booleans()) else of_levels(3)


def _operators(operand: Any) -> st.SearchStrategy[Any]:
    """Return what may stand beside a field of which the operand is of interest."""
    some = operand if isinstance(operand, list) else [operand]
    one = st.sampled_from([one for one in some if not isinstance(one, (list, dict))] or [None])
    list_of_some = st.lists(one | SCALARS, max_size=4)
    bound = one.filter(lambda value: isinstance(value, (str, float)) or type(value) is int)
    orders = st.sampled_from(["$lt", "$lte", "$gt", "$gte"])
    return one | st.one_of(
        *(st.fixed_dictionaries({name: one}) for name in ("$eq", "$ne")),
        *(st.fixed_dictionaries({name: list_of_some}) for name in ("$in", "$nin")),
        st.fixed_dictionaries({"$exists": st.booleans()}),
        st.dictionaries(orders, bound | TEXTS | NUMBERS, min_size=1),
    )


def _fields(value: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items():
        yield (*above, key), inner
        if isinstance(inner, dict):
            yield from _fields(inner, (*above, key))


def _written(path: tuple[str, ...]) -> str:
    field = ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)
    return f"\\{field}" if field.startswith("$") else field


def holds(database: sqlite3.Connection, condition: Filter, text: str | None) -> Any:
    """Return what SQLite says of one row, which must be 0 or 1 rather than null."""
    sql, parameters = to_sql(condition, "t.metadata")
    with closing(
        database.execute(f"SELECT {sql} FROM (SELECT ? AS metadata) AS t", (*parameters, text))
    ) as rows:
        return rows.fetchone()[0]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_sqlite_and_python_agree(database: sqlite3.Connection, data: st.DataObject) -> None:
    metadata = data.draw(METADATA)
    condition = parse(data.draw(filters(metadata)))
    stored = orjson.dumps(metadata)

    assert holds(database, condition, stored.decode()) == matches(condition, orjson.loads(stored))
    # Another writer escapes more, which says the same.
    escaped = json.dumps(metadata)
    assert holds(database, condition, escaped) == matches(condition, json.loads(escaped))


@pytest.mark.parametrize("order", ["$lt", "$lte", "$gt", "$gte", "$eq", "$ne"])
@given(value=TEXTS | NUMBERS, operand=TEXTS | NUMBERS)
@example(value=0.1, operand=math.nextafter(0.1, 1))
@example(value=1e22, operand=math.nextafter(1e22, 0))
@example(value="\\u0000", operand="\\u0000")
@example(value=2**53, operand=2**53 + 1)
@settings(deadline=None)
def test_every_order_is_the_same_in_sqlite(
    database: sqlite3.Connection, order: str, value: Any, operand: Any
) -> None:
    condition = parse({"a": {order: operand}})

    found = holds(database, condition, orjson.dumps({"a": value}).decode())

    assert found == matches(condition, {"a": value})


@pytest.mark.parametrize(("values", "expected"), [(HOLDS, 1), (DOES_NOT, 0)])
def test_sqlite_agrees_about_every_case(
    database: sqlite3.Connection, values: list[Any], expected: int
) -> None:
    text = orjson.dumps(BOOK).decode()

    assert [(one, holds(database, parse(one), text)) for one in values] == [
        (one, expected) for one in values
    ]


@pytest.mark.parametrize("text", [None, "{}"])
def test_without_metadata_there_are_no_fields(
    database: sqlite3.Connection, text: str | None
) -> None:
    assert holds(database, parse({"a": {"$exists": True}}), text) == 0
    assert holds(database, parse({"a": {"$ne": 1}}), text) == 1
    assert holds(database, parse({}), text) == 1


def test_joints_without_parts_are_what_logic_says(database: sqlite3.Connection) -> None:
    for condition in (And(()), Or(())):
        assert holds(database, condition, "{}") == matches(condition, {})


def test_nothing_of_a_client_s_is_part_of_the_sql() -> None:
    """Keys and values that differ leave the same SQL."""
    hostile = "x') OR 1=1; DROP TABLE points; --"
    shapes = [
        to_sql(parse({f"{word}.k": {"$in": [word]}, word: {"$lt": word}}), "metadata")[0]
        for word in ("a", hostile, '"', "{at}", "?")
    ]

    assert len(set(shapes)) == 1


def test_the_largest_filter_is_within_the_limits_of_sqlite(database: sqlite3.Connection) -> None:
    """Its parser, its stack of expressions, its tables of a join and its parameters."""
    deep = ".".join("k" * 16)
    conditions: list[Any] = [{deep: {"$in": [*range(500), *map(str, range(500))]}}]
    conditions += [{deep: {"$lt": n}} for n in range(MAX_CONDITIONS - 1)]
    condition: Any = {"$or": conditions}
    for _ in range(14):
        condition = {"$not": condition}

    assert len(conditions[0][deep]["$in"]) == MAX_VALUES
    for value, expected in ((7, 1), (999, 0)):
        metadata: Any = value
        for _ in range(16):
            metadata = {"k": metadata}
        assert holds(database, parse(condition), orjson.dumps(metadata).decode()) == expected

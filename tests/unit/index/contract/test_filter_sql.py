"""SQLite finds exactly the rows whose metadata meets the filter, whatever is in either."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedder.core.errors import LimitExceeded
from embedder.index.contract.filter_matching import matches
from embedder.index.contract.filter_parsing import MAX_CONDITIONS, MAX_VALUES, parse
from embedder.index.contract.filter_sql import to_sql
from embedder.index.contract.filters import And, Filter, Or
from tests.unit.examples import TIMES
from tests.unit.index.contract.filter_drawing import METADATA, NUMBERS, TEXTS, filters
from tests.unit.index.contract.filter_meaning import meets
from tests.unit.index.contract.test_filter_matching import BOOK, DOES_NOT, HOLDS


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def holds(database: sqlite3.Connection, condition: Filter, text: str | None) -> Any:
    """Return what SQLite says of one row, which must be 0 or 1 rather than null."""
    sql, parameters = to_sql(condition, "t.metadata")
    with closing(
        database.execute(f"SELECT {sql} FROM (SELECT ? AS metadata) AS t", (*parameters, text))
    ) as rows:
        return rows.fetchone()[0]


@given(st.data())
@settings(max_examples=100 * TIMES, deadline=None)
def test_sqlite_and_python_agree(database: sqlite3.Connection, data: st.DataObject) -> None:
    metadata = data.draw(METADATA)
    written = data.draw(filters(metadata))
    condition = parse(written)
    stored = orjson.dumps(metadata)

    assert holds(database, condition, stored.decode()) == meets(written, orjson.loads(stored))
    assert matches(condition, orjson.loads(stored)) == meets(written, orjson.loads(stored))
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


def test_the_widest_filter_is_within_the_limits_of_sqlite(database: sqlite3.Connection) -> None:
    """Its stack of expressions, its tables of a join and its parameters."""
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


FIELD = {"b": {"$nin": ["x", 1, None, True]}}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "not behind a field": lambda inner: {**FIELD, "$not": inner},
    "not before a field": lambda inner: {"$not": inner, **FIELD},
    "last of an or": lambda inner: {"$or": [FIELD, inner]},
    "last of an or behind a field": lambda inner: {**FIELD, "$or": [FIELD, inner]},
    "last of an and behind an or": lambda inner: {"$or": [FIELD, FIELD], "$and": [FIELD, inner]},
    "last of an or inside a not": lambda inner: {**FIELD, "$not": {"$or": [FIELD, inner]}},
}


@pytest.mark.parametrize("halves", range(6))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_deepest_filter_is_within_the_stack_of_sqlite_s_parser(
    database: sqlite3.Connection, shape: Callable[[Any], Any], halves: int
) -> None:
    """Down to lists of two equal halves, of which neither can be put in front."""
    inner: Any = FIELD
    for level in range(halves):
        inner = {("$or", "$and")[level % 2]: [inner, inner]}
    written = inner
    while True:
        try:
            parse(shape(written))
        except LimitExceeded:
            break
        written = shape(written)

    for metadata in ({"b": 2}, {"b": "x"}, {}):
        found = holds(database, parse(written), orjson.dumps(metadata).decode())
        assert found == meets(written, metadata)

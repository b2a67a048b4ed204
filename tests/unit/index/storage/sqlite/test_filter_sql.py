"""SQLite selects exactly the rows whose metadata matches the filter."""

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
from embedder.index.contract.filter_parsing import MAX_CONDITIONS, MAX_VALUES, parse
from embedder.index.contract.filters import And, Filter, Not, Or
from embedder.index.storage.sqlite.filter_sql import to_sql
from tests.unit.examples import TIMES
from tests.unit.index.contract.filter_cases import BOOK, MATCHING, NOT_MATCHING
from tests.unit.index.contract.filter_oracle import matches
from tests.unit.index.contract.filter_strategies import METADATA, NUMBERS, TEXTS, filters


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def holds(database: sqlite3.Connection, condition: Filter, text: str | None) -> Any:
    """Return the value of the condition for one row: 0 or 1, never null."""
    sql, parameters = to_sql(condition, "t.metadata")
    with closing(
        database.execute(f"SELECT {sql} FROM (SELECT ? AS metadata) AS t", (*parameters, text))
    ) as rows:
        return rows.fetchone()[0]


@given(st.data())
@settings(max_examples=50 * TIMES, deadline=None)
def test_sqlite_matches_the_oracle(database: sqlite3.Connection, data: st.DataObject) -> None:
    metadata = data.draw(METADATA)
    written = data.draw(filters(metadata))
    condition = parse(written)
    stored = orjson.dumps(metadata)

    assert holds(database, condition, stored.decode()) == matches(written, orjson.loads(stored))
    # The json module escapes more characters, which must not change the result.
    escaped = json.dumps(metadata)
    assert holds(database, condition, escaped) == matches(written, json.loads(escaped))


@pytest.mark.parametrize("order", ["$lt", "$lte", "$gt", "$gte", "$eq", "$ne"])
@given(value=TEXTS | NUMBERS, operand=TEXTS | NUMBERS)
@example(value=0.1, operand=math.nextafter(0.1, 1))
@example(value=1e22, operand=math.nextafter(1e22, 0))
@example(value="\\u0000", operand="\\u0000")
@example(value=2**53, operand=2**53 + 1)
@settings(deadline=None)
def test_every_order_matches_the_oracle(
    database: sqlite3.Connection, order: str, value: Any, operand: Any
) -> None:
    written = {"a": {order: operand}}

    found = holds(database, parse(written), orjson.dumps({"a": value}).decode())

    assert found == matches(written, {"a": value})


@pytest.mark.parametrize(
    ("written", "expected"),
    [*((one, 1) for one in MATCHING), *((one, 0) for one in NOT_MATCHING)],
    ids=str,
)
def test_sqlite_and_the_oracle_are_right_about_every_case(
    database: sqlite3.Connection, written: Any, expected: int
) -> None:
    text = orjson.dumps(BOOK).decode()

    assert matches(written, BOOK) == expected
    assert holds(database, parse(written), text) == expected
    assert holds(database, Not(parse(written)), text) == 1 - expected


@pytest.mark.parametrize("text", [None, "{}"])
def test_missing_metadata_has_no_fields(database: sqlite3.Connection, text: str | None) -> None:
    assert holds(database, parse({"a": {"$exists": True}}), text) == 0
    assert holds(database, parse({"a": {"$ne": 1}}), text) == 1
    assert holds(database, parse({}), text) == 1


def test_an_empty_and_holds_and_an_empty_or_does_not(database: sqlite3.Connection) -> None:
    assert holds(database, And(()), "{}") == 1
    assert holds(database, Or(()), "{}") == 0


def test_no_client_text_is_part_of_the_sql() -> None:
    """Filters that differ only in keys and values compile to the same SQL."""
    hostile = "x') OR 1=1; DROP TABLE points; --"
    shapes = [
        to_sql(parse({f"{word}.k": {"$in": [word]}, word: {"$lt": word}}), "metadata")[0]
        for word in ("a", hostile, '"', "{at}", "?")
    ]

    assert len(set(shapes)) == 1


def test_the_largest_filter_is_within_the_limits_of_sqlite(database: sqlite3.Connection) -> None:
    """The limits on nested expressions, on tables of a join and on parameters."""
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
def test_the_deepest_filter_is_within_the_parser_stack_of_sqlite(
    database: sqlite3.Connection, shape: Callable[[Any], Any], halves: int
) -> None:
    """With lists of two equal halves, of which neither is the larger to put first."""
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
        assert found == matches(written, metadata)

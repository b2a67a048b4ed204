"""PostgreSQL selects exactly the rows whose metadata matches the filter."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedder.index.contract.filter_parsing import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, parse
from embedder.index.contract.filters import And, Filter, Not, Or
from embedder.index.storage.postgres.filter_sql import to_sql
from embedder.index.storage.postgres.jsonb_fields import fields_of
from tests.unit.examples import TIMES
from tests.unit.index.contract.filter_cases import BOOK, MATCHING, NOT_MATCHING
from tests.unit.index.contract.filter_oracle import matches
from tests.unit.index.contract.filter_strategies import METADATA, NUMBERS, TEXTS, filters
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

if TYPE_CHECKING:
    from psycopg import Connection

LANGUAGE_ORDER = "ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
"""A database that orders texts as English does: a before B, and U+0000 nowhere."""


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> Iterator[Connection[Any]]:
    import psycopg

    url = server.create_database(LANGUAGE_ORDER)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


def holds(database: Connection[Any], condition: Filter, metadata: str) -> Any:
    """Return the value of the condition for one row: true or false, never null."""
    sql, parameters = to_sql(condition, "t.fields")
    source = "(SELECT %(fields)s::jsonb AS fields OFFSET 0) AS t"
    given = {**parameters, "fields": fields_of(metadata)}
    row = database.execute(f"SELECT {sql} FROM {source}", given).fetchone()
    assert row is not None
    return row[0]


@given(st.data())
@settings(max_examples=50 * TIMES, deadline=None)
def test_postgresql_matches_the_oracle(database: Connection[Any], data: st.DataObject) -> None:
    metadata = data.draw(METADATA)
    written = data.draw(filters(metadata))
    condition = parse(written)
    stored = orjson.dumps(metadata)

    assert holds(database, condition, stored.decode()) is matches(written, orjson.loads(stored))
    # The json module escapes more characters, which must not change the result.
    escaped = json.dumps(metadata)
    assert holds(database, condition, escaped) is matches(written, json.loads(escaped))


NEAR_INTEGERS = st.integers(2**53, 2**63 - 1).flatmap(
    lambda whole: st.sampled_from([whole, -whole, float(whole), -float(whole), whole + 1.5])
)
"""Numbers where integers lie between doubles."""


@pytest.mark.parametrize("order", ["$lt", "$lte", "$gt", "$gte", "$eq", "$ne"])
@given(value=TEXTS | NUMBERS | NEAR_INTEGERS, operand=TEXTS | NUMBERS | NEAR_INTEGERS)
@example(value=0.1, operand=math.nextafter(0.1, 1))
@example(value=1e22, operand=math.nextafter(1e22, 0))
@example(value="\\u0000", operand="\\u0000")
@example(value=2**53, operand=2**53 + 1)
@example(value=float(2**62 + 1024), operand=2**62 + 1046)
@example(value=-(2**63), operand=-float(2**63))
@example(value="a", operand="B")
@settings(deadline=None)
def test_every_order_matches_the_oracle(
    database: Connection[Any], order: str, value: Any, operand: Any
) -> None:
    written = {"a": {order: operand}}

    found = holds(database, parse(written), orjson.dumps({"a": value}).decode())

    assert found is matches(written, {"a": value})


@pytest.mark.parametrize(
    ("written", "expected"),
    [*((one, True) for one in MATCHING), *((one, False) for one in NOT_MATCHING)],
    ids=str,
)
def test_postgresql_is_right_about_every_case(
    database: Connection[Any], written: Any, expected: bool
) -> None:
    text = orjson.dumps(BOOK).decode()

    assert matches(written, BOOK) is expected
    assert holds(database, parse(written), text) is expected
    assert holds(database, Not(parse(written)), text) is not expected


def test_missing_metadata_has_no_fields(database: Connection[Any]) -> None:
    assert fields_of("{}") is None
    assert holds(database, parse({"a": {"$exists": True}}), "{}") is False
    assert holds(database, parse({"a": {"$ne": 1}}), "{}") is True
    assert holds(database, parse({"a": {"$nin": [1, 2, 3, 4, 5]}}), "{}") is True
    assert holds(database, parse({}), "{}") is True


def test_an_empty_and_holds_and_an_empty_or_does_not(database: Connection[Any]) -> None:
    assert holds(database, And(()), "{}") is True
    assert holds(database, Or(()), "{}") is False


def test_no_client_text_is_part_of_the_sql() -> None:
    """Filters that differ only in keys and values compile to the same SQL."""
    hostile = "x') OR 1=1; DROP TABLE points; --"
    shapes = [
        to_sql(parse({f"{word}.k": {"$in": [f"{word}v"]}, word: {"$lt": f"{word}b"}}), "fields")[0]
        for word in ("a", hostile, '"', "{0}", "%s", "%", "1$")
    ]

    assert len(set(shapes)) == 1


def test_the_largest_filter_is_within_the_limits_of_postgresql(database: Connection[Any]) -> None:
    """The limits on nested expressions and on parameters: every field has other keys."""
    paths = [".".join(f"k{n}_{depth}" for depth in range(16)) for n in range(MAX_CONDITIONS)]
    values = [*range(500), *map(str, range(500))]
    conditions: list[Any] = [{paths[0]: {"$in": values}}]
    conditions += [{path: {"$lt": n}} for n, path in enumerate(paths[1:])]
    condition: Any = {"$or": conditions}
    for _ in range(MAX_DEPTH - 2):
        condition = {"$not": condition}

    assert len(values) == MAX_VALUES
    for value, expected in ((7, True), (999, False)):
        metadata: Any = value
        for key in reversed(paths[0].split(".")):
            metadata = {key: metadata}
        assert holds(database, parse(condition), orjson.dumps(metadata).decode()) is expected

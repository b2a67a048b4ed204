"""Filters are parsed to their conditions; the error for an invalid filter names the location."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import And, Compare, Exists, Filter, Not, OneOf, Or

N = ("n",)
EN = OneOf(("lang",), strings=frozenset({"en"}))


def nested(levels: int) -> Any:
    """Return a filter of this many levels."""
    value: Any = {"a": 1}
    for _ in range(levels - 1):
        value = {"$not": value}
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, And(())),
        ({"lang": "en"}, EN),
        ({"lang": {"$eq": "en"}}, EN),
        ({"lang": {"$ne": "en"}}, Not(EN)),
        ({"n": 1}, OneOf(N, numbers=frozenset({1}))),
        ({"n": True}, OneOf(N, constants=frozenset({"true"}))),
        ({"n": None}, OneOf(N, constants=frozenset({"null"}))),
        ({"n": {"$in": []}}, OneOf(N)),
        ({"n": {"$nin": []}}, Not(OneOf(N))),
        (
            {"n": {"$in": ["a", 1, 2.5, False, None, "a"]}},
            OneOf(N, frozenset("a"), frozenset({1, 2.5}), frozenset({"false", "null"})),
        ),
        ({"n": {"$exists": True}}, Exists(N)),
        ({"n": {"$exists": False}}, Not(Exists(N))),
        (
            {"n": {"$gte": 1, "$lt": "b"}},
            And((Compare(N, ">=", 1), Compare(N, "<", "b"))),
        ),
        ({"n": {"$gt": -0.5}}, Compare(N, ">", -0.5)),
        ({"n": {"$lte": ""}}, Compare(N, "<=", "")),
        ({"lang": "en", "n": {"$exists": True}}, And((EN, Exists(N)))),
        ({"$and": [{"lang": "en"}, {"lang": "en"}]}, And((EN, EN))),
        ({"$or": [{"lang": "en"}]}, Or((EN,))),
        ({"$not": {"lang": "en"}}, Not(EN)),
        ({"$not": {"lang": "en", "$or": [{"lang": "en"}]}}, Not(And((EN, Or((EN,)))))),
    ],
)
def test_every_form_of_a_filter_is_parsed(value: Any, expected: Filter) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b.c", ("a.b", "c")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", ("a\\.b",)),
        (r"\$or", ("$or",)),
        ("a$.$b", ("a$", "$b")),
        ("a\n.\0b", ("a\n", "\0b")),
        ("ä 'b\"", ("ä 'b\"",)),
        (".".join("k" * 16), tuple("k" * 16)),
    ],
)
def test_a_field_is_parsed_to_its_keys(field: str, path: tuple[str, ...]) -> None:
    assert parse({field: {"$exists": True}}) == Exists(path)


@given(st.lists(st.text(r"a.\$", min_size=1, max_size=5), min_size=1, max_size=4))
def test_every_key_can_be_escaped(keys: list[str]) -> None:
    escaped = [key.replace("\\", "\\\\").replace(".", "\\.") for key in keys]
    field = ".".join(escaped)

    named = f"\\{field}" if field.startswith("$") else field
    assert parse({named: {"$exists": True}}) == Exists(tuple(keys))


def test_integers_beyond_64_bits_are_parsed_as_doubles() -> None:
    assert parse({"n": {"$lt": 2**63 + 1}}) == Compare(N, "<", float(2**63))
    assert parse({"n": {"$lt": 2**63 - 1}}) == Compare(N, "<", 2**63 - 1)
    assert parse({"n": -(2**63)}) == OneOf(N, numbers=frozenset({-(2**63)}))


def test_one_and_true_are_different_filters() -> None:
    """Searches are grouped by equal filters, and 1 == True in Python."""
    assert parse({"n": 1}) != parse({"n": True})
    assert parse({"n": {"$in": [0]}}) != parse({"n": {"$in": [False]}})


def test_a_filter_can_be_pickled() -> None:
    read = parse({"$or": [{"a.b": {"$in": [1, "x", None]}}, {"$not": {"c": {"$gt": 1}}}]})

    assert pickle.loads(pickle.dumps(read)) == read
    assert hash(pickle.loads(pickle.dumps(read))) == hash(read)


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        (None, "filter", "an object, not null"),
        ([], "filter", "an object, not a list"),
        ("lang", "filter", "an object, not text"),
        ({1: 2}, "filter", "only texts as keys"),
        ({"$nor": []}, "filter.$nor", "use one of $and, $or, $not"),
        ({"$gt": 1}, "filter.$gt", "is not an operator"),
        ({"$or": {"a": 1}}, "filter.$or", "a list of at least one filter"),
        ({"$and": []}, "filter.$and", "a list of at least one filter"),
        ({"$or": [{"a": 1}, 5]}, "filter.$or[1]", "an object, not a number"),
        ({"$or": [{"a": 1}, {}]}, "filter.$or[1]", "must not be empty"),
        ({"$not": [{"a": 1}]}, "filter.$not", "an object, not a list"),
        ({"$not": {"$not": {}}}, "filter.$not.$not", "must not be empty"),
        ({"a": {}}, "filter.a", "at least one operator"),
        ({"a": [1]}, "filter.a", "not a list"),
        ({"a": {"b": 1}}, "filter.a.b", "use one of $eq, $ne, $in, $nin, $lt"),
        ({"a": {"$eq": 1, "$regex": "x"}}, "filter.a.$regex", "is not an operator"),
        ({"a": {"$not": {"$eq": 1}}}, "filter.a.$not", "is not an operator"),
        ({"a": {"$eq": {"b": 1}}}, "filter.a.$eq", "not an object"),
        ({"a": {"$ne": [1]}}, "filter.a.$ne", "not a list"),
        ({"a": {"$in": "xy"}}, "filter.a.$in", "a list of values, not text"),
        ({"a": {"$nin": [1, [2]]}}, "filter.a.$nin[1]", "not a list"),
        ({"a": {"$exists": 1}}, "filter.a.$exists", "true or false, not a number"),
        ({"a": {"$exists": None}}, "filter.a.$exists", "true or false, not null"),
        ({"$or": [{"x": 1}, {"year": {"$gte": True}}]}, "filter.$or[1].year.$gte", "a boolean"),
        ({"a": {"$lt": None}}, "filter.a.$lt", "text or a number, not null"),
        ({"a": {"$gt": [1]}}, "filter.a.$gt", "not a list"),
        ({"a": float("nan")}, "filter.a", "double precision"),
        ({"a": {"$in": [1, float("inf")]}}, "filter.a.$in[1]", "double precision"),
        ({"a": {"$lt": 10**400}}, "filter.a.$lt", "double precision"),
        ({"a": "x\ud800"}, "filter.a", "lone surrogate at character 1"),
        ({"\ud800": 1}, "filter", "lone surrogate at character 0"),
        ({"": 1}, "filter.", "an empty key"),
        ({"a..b": 1}, "filter.a..b", "an empty key"),
        ({".a": 1}, "filter..a", "an empty key"),
        ({"a.": 1}, "filter.a.", "an empty key"),
        ({"a\\": 1}, "filter.a\\", "backslash"),
        ({"a\\b": 1}, "filter.a\\b", "backslash"),
    ],
)
def test_the_error_for_an_invalid_filter_names_the_location(
    value: Any, field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(value)

    assert caught.value.field == field
    assert words in str(caught.value)
    assert not isinstance(caught.value, LimitExceeded)


def test_the_location_begins_with_the_field_of_the_request() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse({"a": [1]}, "queries[3].filter")

    assert caught.value.field == "queries[3].filter.a"


@pytest.mark.parametrize(
    ("allowed", "refused", "arguments"),
    [
        (nested(16), nested(17), ("filter" + ".$not" * 16, "levels above it", 16, 15)),
        (
            {"$or": [{"a": {"$gt": n, "$lt": 9}} for n in range(128)]},
            {"$or": [{"a": {"$gt": n}} for n in range(300)]},
            ("filter", "or more conditions", 257, 256),
        ),
        (
            {"$or": [{"a": {"$in": ["x"] * 1000}}]},
            {"$or": [{"a": {"$in": ["x"] * 1001}}]},
            ("filter.$or[0].a.$in", "values", 1001, 1000),
        ),
        (
            {"$not": {"k" * 256: 1}},
            {"$not": {"k" * 257: 1}},
            ("filter.$not", "characters in a key", 257, 256),
        ),
        (
            {".".join(["\\." * 256] * 16): 1},
            {".".join(["\\." * 256] * 17): 1},
            ("filter", "characters in a field", 8720, 8208),
        ),
        (
            {".".join("k" * 16): 1},
            {".".join("k" * 17): 1},
            ("filter." + ".".join("k" * 17), "keys", 17, 16),
        ),
    ],
)
def test_the_error_beyond_each_limit_states_the_limit(
    allowed: Any, refused: Any, arguments: tuple[str, str, int, int]
) -> None:
    parse(allowed)

    with pytest.raises(LimitExceeded) as caught:
        parse(refused)

    assert caught.value.args == arguments


def test_a_very_deep_filter_does_not_reach_the_recursion_limit() -> None:
    with pytest.raises(LimitExceeded):
        parse(nested(100_000))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$and", "$or", "$not", "$eq", "$in", "$lt", "$exists", "a", "a.b", "."]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_parsed_or_refused_with_a_location(value: Any) -> None:
    field = _refused_field(value)

    assert field is None or field == "filter" or field.startswith("filter.")


def _refused_field(value: Any) -> str | None:
    try:
        parse(value)
    except InvalidInput as error:
        return error.field
    return None

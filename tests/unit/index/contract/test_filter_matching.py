"""What a filter holds of, case by case, as its users are told."""

from __future__ import annotations

from typing import Any

import pytest

from embedder.index.contract.filter_matching import matches
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import Not

BOOK: dict[str, Any] = {
    "lang": "en",
    "year": 2004,
    "price": 9.5,
    "new": True,
    "author": None,
    "tags": ["a", 1, False, None, ["nested"], {"k": "v"}],
    "empty": [],
    "source": {"site": "example.org", "page": {"number": 7}},
    "chapters": [{"title": "one"}],
    "a.b": "dotted",
    "$price": 1,
}

HOLDS: list[Any] = [
    {},
    {"lang": "en"},
    {"year": 2004.0},
    {"price": {"$eq": 9.5}},
    {"new": True},
    {"author": None},
    {"lang": {"$ne": "de"}},
    {"lang": {"$ne": 5}},
    {"missing": {"$ne": "x"}},
    {"missing": {"$nin": ["x", None]}},
    {"lang": {"$in": ["de", "en"]}},
    {"lang": {"$nin": []}},
    {"year": {"$gt": 2003.5, "$lt": 2005}},
    {"year": {"$gte": 2004, "$lte": 2004}},
    {"lang": {"$gt": "e", "$lt": "f"}},
    {"lang": {"$gt": "E"}},
    {"tags": "a"},
    {"tags": 1},
    {"tags": False},
    {"tags": None},
    {"tags": {"$in": ["z", "a"]}},
    {"tags": {"$gte": 1, "$lte": "a"}},
    {"source.site": "example.org"},
    {"source.page.number": {"$gt": 6}},
    {r"a\.b": "dotted"},
    {r"\$price": 1},
    {"author": {"$exists": True}},
    {"source": {"$exists": True}},
    {"source.page": {"$exists": True}},
    {"empty": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"source.missing": {"$exists": False}},
    {"lang.deeper": {"$exists": False}},
    {"$or": [{"lang": "de"}, {"year": 2004}]},
    {"$and": [{"lang": "en"}, {"year": 2004}]},
    {"$not": {"lang": "de"}},
    {"$not": {"missing": {"$lt": 1}}},
]

DOES_NOT: list[Any] = [
    {"lang": "EN"},
    {"lang": "en", "year": 2005},
    {"year": "2004"},
    {"new": 1},
    {"year": True},
    {"tags": True},
    {"tags": 0},
    {"tags": "nested"},
    {"tags": "v"},
    {"author": False},
    {"author": "null"},
    {"missing": None},
    {"lang": {"$in": []}},
    {"lang": {"$ne": "en"}},
    {"tags": {"$ne": "a"}},
    {"tags": {"$nin": ["z", "a"]}},
    {"empty": None},
    {"empty": {"$gt": 0}},
    {"lang": {"$gt": 0}},
    {"year": {"$gt": ""}},
    {"new": {"$gt": 0}},
    {"author": {"$lte": 0}},
    {"missing": {"$lte": 0}},
    {"year": {"$gt": 2004}},
    {"year": {"$lt": 2004}},
    {"lang": {"$lt": "en"}},
    {"source": "example.org"},
    {"a.b": "dotted"},
    {"chapters.title": "one"},
    {"chapters.0.title": "one"},
    {"tags.k": {"$exists": True}},
    {"missing": {"$exists": True}},
    {"author": {"$exists": False}},
    {"$or": [{"lang": "de"}, {"year": 2005}]},
    {"$and": [{"lang": "en"}, {"year": 2005}]},
]


@pytest.mark.parametrize("value", HOLDS, ids=str)
def test_what_holds(value: Any) -> None:
    assert matches(parse(value), BOOK)
    assert not matches(Not(parse(value)), BOOK)


@pytest.mark.parametrize("value", DOES_NOT, ids=str)
def test_what_does_not_hold_and_its_complement_that_does(value: Any) -> None:
    assert not matches(parse(value), BOOK)
    assert matches(Not(parse(value)), BOOK)

"""Values that clients may send: hostile strings, metadata, filters up to every limit, vectors."""

from __future__ import annotations

import math
import random
from typing import Any

WIDTH = 384
"""Components of a vector of the default model."""

MAX_ID_BYTES = 255
MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_LIST = 1000

STRINGS = (
    *("", " ", ".", "..", "/", "//", "a/b", "%00", "%2F", "a\nb", "a\r\nb", "\t", "\0"),
    *("a\0b", "\0a", "fetch", "count", "scroll", "delete", "null", "true", "NaN"),
    *("1e999", "-0", "[]", "{}", '"', "\\", "$not", "$eq", "a.b", "\\."),
    *("'; DROP TABLE points; --", "%s%n", "*?[a]", "\ufeff", "\u2028", "\u202eabc"),
    *("Z\u0341\u0323", "ﷺ", "👩‍👩‍👧‍👦", "\U0010ffff", "\uffff"),
    *("\x7f\x80\x9f", "I\u0307", "ß", "ſ", "[CLS] [SEP]", "../../etc/passwd"),
    *("<script>", "${7*7}", "e\u0301", "\u00e9", "한글", "مرحبا"),
)
"""Strings that some layer of some system has taken for something else."""

NUMBERS = (0, -1, 1, -0.0, 0.1, 1e308, -1e308, 5e-324, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64)


def text(source: random.Random, longest: int = 200) -> str:
    """Return a string of at most ``longest`` characters; all of Unicode but surrogates occurs."""
    kind = source.random()
    if kind < 0.4:
        return source.choice(STRINGS)[:longest]
    if kind < 0.7:
        return "".join(source.choice(STRINGS) for _ in range(source.randrange(8)))[:longest]
    count = source.randrange(longest + 1) if kind > 0.95 else source.randrange(min(30, longest) + 1)
    return "".join(_character(source) for _ in range(count))


def point_id(source: random.Random, owner: str) -> str:
    """Return an id that only ``owner`` writes, within the limit."""
    chosen = f"{owner}|{text(source, 60)}"
    while len(chosen.encode()) > MAX_ID_BYTES:
        chosen = chosen[:-1]
    return chosen


def metadata(source: random.Random) -> dict[str, Any] | None:
    """Return metadata within the limits, or None."""
    if source.random() < 0.1:
        return None
    entries = {
        _key(source): _value(source, source.randrange(4)) for _ in range(source.randrange(5))
    }
    return {**entries, "group": source.randrange(5)}


def condition(source: random.Random, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return a filter; one in two is as deep, as wide or as long as it may be."""
    kind = source.random()
    if kind < 0.2:
        deep: dict[str, Any] = {"group": source.randrange(5)}
        for _ in range(depth - 1):
            deep = {"group": {"$gte": 0}, "$not": deep}
        return deep
    if kind < 0.35:
        return {"$or": [{_key(source): _scalar(source)} for _ in range(MAX_CONDITIONS - 1)]}
    if kind < 0.5:
        return {_key(source): {"$in": [_scalar(source) for _ in range(MAX_LIST)]}}
    operator = source.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$exists"])
    given = source.random() < 0.5 if operator == "$exists" else _scalar(source)
    return {source.choice(["group", _key(source)]): {operator: given}}


def vector(source: random.Random, width: int = WIDTH) -> list[float]:
    """Return the components of a vector of unit length."""
    components = [source.gauss(0, 1) for _ in range(width)]
    length = math.sqrt(sum(one * one for one in components))
    return [round(one / length, 6) for one in components]


def junk(source: random.Random, depth: int = 3) -> Any:
    """Return any value of JSON."""
    kind = source.random()
    if depth and kind < 0.2:
        return [junk(source, depth - 1) for _ in range(source.randrange(5))]
    if depth and kind < 0.4:
        return {text(source, 20): junk(source, depth - 1) for _ in range(source.randrange(5))}
    if kind < 0.5:
        return "\ud800"  # a lone surrogate, as an escape
    return source.choice([None, True, False, source.choice(NUMBERS), text(source), "1" * 5000])


def _character(source: random.Random) -> str:
    while True:
        point = source.randrange(0x110000 if source.random() < 0.3 else 0x250)
        if not 0xD800 <= point < 0xE000:
            return chr(point)


def _key(source: random.Random) -> str:
    key = text(source, 256)
    return key if key and not key.startswith("$") else f"k{key}"[:256]


def _scalar(source: random.Random) -> Any:
    return source.choice([True, False, source.choice(NUMBERS[:-1]), text(source, 40), 0.5])


def _value(source: random.Random, depth: int) -> Any:
    if depth == 0:
        return source.choice([None, _scalar(source)])
    if source.random() < 0.5:
        return [_value(source, depth - 1) for _ in range(source.randrange(3))]
    return {_key(source): _value(source, depth - 1) for _ in range(source.randrange(3))}

"""Draws metadata and filters that hostile clients may write; the filters often match."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from embedder.index.contract.filter_parsing import MAX_DEPTH

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
    ["a", "a\0", "a\0b", "b", "é", 'q"', "s\\", "d.d", "\0", "\x01", "$x", "'", "🙂", "0", " "]
) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)

SHAPES: list[Callable[[Any, Callable[[], Any]], dict[str, Any]]] = [
    lambda inner, _: {"$not": inner},
    lambda inner, field: {"$and": [field(), inner]},
    lambda inner, field: {"$or": [inner, field()]},
    lambda inner, field: {**field(), "$not": inner},
    lambda inner, field: {**field(), "$or": [field(), inner]},
    lambda inner, field: {"$and": [field(), inner], "$or": [field()]},
]
"""Ways to nest a filter in another one, with conditions on fields beside it."""


@st.composite
def filters(draw: st.DrawFn, metadata: dict[str, Any]) -> dict[str, Any]:
    """Draw a filter of any permitted depth, mostly of fields and values in the metadata."""
    known = list(_fields(metadata)) or [(("a",), 1)]

    def on_a_field() -> dict[str, Any]:
        path, value = draw(st.sampled_from(known))
        if draw(st.integers(0, 3)) == 0:
            path = (*path, draw(KEYS))
        operand = value if draw(st.booleans()) and not isinstance(value, dict) else draw(SCALARS)
        return {_written(path): draw(_operators(operand))}

    found = on_a_field()
    for _ in range(draw(st.integers(0, 3) | st.integers(0, MAX_DEPTH - 1))):
        found = draw(st.sampled_from(SHAPES))(found, on_a_field)
    return found


def _operators(operand: Any) -> st.SearchStrategy[Any]:
    """Return a value or an object of operators for a field, often with this operand."""
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

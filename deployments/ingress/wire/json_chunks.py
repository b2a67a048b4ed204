"""Writes a large JSON value in chunks, so that no step holds the interpreter lock for long.

orjson holds the lock for the whole value: 128 MiB of numbers would block all other requests for
half a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson


class Divided(dict[str, Any]):
    """An item of a list whose members are chunks of their own, because they are large."""


def json_chunks(value: Any) -> Iterator[bytes]:
    """Yield in chunks what ``orjson.dumps`` returns for a value, arrays of numpy included.

    A chunk is one member of the outermost object or one item of a list. Lists and `Divided` objects
    among them are divided in turn, arrays into rows. Iterators are written as lists and advanced
    item by item, so their items need not exist at the same time.
    """
    if isinstance(value, dict):
        before = b"{"
        for name, member in value.items():
            yield before + orjson.dumps(name) + b":"
            yield from json_chunks(member)
            before = b","
        yield b"}" if value else b"{}"
    elif _is_divided(value):
        before = b"["
        for item in value:
            if _is_divided(item):
                yield before
                yield from json_chunks(item)
            else:
                yield before + _dumps(item)
            before = b","
        yield b"]" if before == b"," else b"[]"
    else:
        yield _dumps(value)


def line_chunks(objects: Iterable[Mapping[str, Any]], size: int) -> Iterator[bytes]:
    """Yield a line of JSON for each object, ``size`` bytes or somewhat more at a time."""
    chunks, held = list[bytes](), 0
    for one in objects:
        for chunk in chain(json_chunks(Divided(one)), (b"\n",)):
            chunks.append(chunk)
            held += len(chunk)
            if held >= size:
                yield b"".join(chunks)
                chunks, held = [], 0
    if chunks:
        yield b"".join(chunks)


def _is_divided(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 1
    return isinstance(value, list | Iterator | Divided)


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

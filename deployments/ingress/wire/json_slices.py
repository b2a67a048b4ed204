"""Parses a large JSON body in slices, so that no step holds the interpreter lock for long.

orjson holds the lock for the whole document: 16 MiB would block all other requests for 0.25 s, or
for 2 s with many small lists. Here numpy finds the brackets and commas outside of strings, the
document is cut at commas into slices of `SLICE_BYTES`, and orjson parses one slice after the other.
Run it in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from embedder.core.errors import LimitExceeded

SLICE_BYTES = 64 * 1024
"""Bytes for one call of orjson, which takes at most 10 ms, even for lists of empty lists."""

SCAN_BYTES = 2**20
"""Bytes for one pass of numpy over the document."""

MAX_NAME_BYTES = 64 * 1024
"""Bytes in which the name of a large member must end; to search 15 MB takes 2 s."""

MAX_DEPTH = 1024
"""Nesting depth of lists and objects, as in orjson."""

_QUOTE, _OPEN, _CLOSE, _COMMA = 1, 2, 3, 4
_KINDS = np.zeros(256, np.uint8)
for _bytes, _kind in ((b'"', _QUOTE), (b"[{", _OPEN), (b"]}", _CLOSE), (b",", _COMMA)):
    _KINDS[list(_bytes)] = _kind

_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}
_KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_SPACE = b" \t\n\r"


class _Commas(NamedTuple):
    """The places of the commas outside of strings, and the nesting depth of each."""

    places: NDArray[np.int64]
    depths: NDArray[np.int32]


def loads_in_slices(content: bytes, *, max_containers: int, slice_bytes: int = SLICE_BYTES) -> Any:
    """Return what ``orjson.loads`` returns for the same bytes.

    Raises:
        orjson.JSONDecodeError: it is not JSON, or nested too deeply.
        LimitExceeded: it has more than ``max_containers`` lists and objects, each of which costs
            as much garbage collection time as hundreds of bytes cost to parse.
    """
    try:
        return _Document(content, slice_bytes, max_containers).load()
    except RecursionError:
        raise _error(content, "lists and objects are nested too deeply", 0) from None


class _Document:
    def __init__(self, content: bytes, slice_bytes: int, max_containers: int) -> None:
        self._content = content
        self._slice_bytes = slice_bytes
        self._commas = _commas_of(content, max_containers)

    def load(self) -> Any:
        """Return the value of the whole document."""
        return self._value(0, len(self._content), 0)

    def _value(self, begin: int, end: int, depth: int) -> Any:
        """Return the value between two places at a nesting depth."""
        begin, end = self._stripped(begin, end)
        opening = self._content[begin] if begin < end else 0
        if end - begin <= self._slice_bytes or opening not in _CLOSING:
            return self._parse(b"", begin, end, b"")
        if self._content[end - 1] != _CLOSING[opening]:
            raise _error(self._content, "expected the end of the list or object", end)
        groups = self._groups(begin + 1, end - 1, depth + 1)
        return self._list(groups, depth) if opening == ord("[") else self._object(groups, depth)

    def _list(self, groups: Iterator[tuple[int, int]], depth: int) -> list[Any]:
        items: list[Any] = []
        for begin, end in groups:
            if end - begin > self._slice_bytes:
                items.append(self._value(begin, end, depth + 1))
            else:
                items.extend(self._parse(b"[", begin, end, b"]"))
        return items

    def _object(self, groups: Iterator[tuple[int, int]], depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for begin, end in groups:
            if end - begin > self._slice_bytes:
                key = _KEY.match(self._content, begin, min(end, begin + MAX_NAME_BYTES))
                if key is None:
                    problem = f"expected a name of at most {MAX_NAME_BYTES} bytes and a colon"
                    raise _error(self._content, problem, begin)
                name = self._parse(b"", *key.span(1), b"")
                members[name] = self._value(key.end(), end, depth + 1)
            else:
                members.update(self._parse(b"{", begin, end, b"}"))
        return members

    def _groups(self, begin: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of each group of items.

        A group has at most ``slice_bytes``, or consists of one larger item.
        """
        places, depths = self._commas
        first, last = np.searchsorted(places, (begin, end))
        inside = places[first:last][depths[first:last] == depth]
        if not len(inside) and not self._content[begin:end].strip(_SPACE):
            return
        ends = np.append(inside, end)
        at = 0
        while at < len(ends):
            fits = int(np.searchsorted(ends, begin + self._slice_bytes, side="right"))
            at = max(fits, at + 1)
            group_end = int(ends[at - 1])
            if not self._content[begin:group_end].strip(_SPACE):
                raise _error(self._content, "expected a value", begin)
            yield begin, group_end
            begin = group_end + 1

    def _parse(self, before: bytes, begin: int, end: int, after: bytes) -> Any:
        try:
            return orjson.loads(before + self._content[begin:end] + after)
        except orjson.JSONDecodeError as error:
            place = max(0, error.pos - len(before))
            raise _error(self._content, error.msg, begin, place) from None

    def _stripped(self, begin: int, end: int) -> tuple[int, int]:
        """Move both ends past white space."""
        while begin < end and self._content[begin] in _SPACE:
            begin += 1
        while begin < end and self._content[end - 1] in _SPACE:
            end -= 1
        return begin, end


def _commas_of(content: bytes, max_containers: int) -> _Commas:
    """Find the commas outside of strings.

    Raises:
        orjson.JSONDecodeError: lists and objects do not end, or are nested too deeply.
        LimitExceeded: there are more than ``max_containers`` lists and objects.
    """
    places, depths = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    in_string, depth, containers = 0, 0, 0
    for begin, end in _blocks(content):
        at, kinds = _marks(np.frombuffer(content, np.uint8, end - begin, begin))
        quotes = kinds == _QUOTE
        inside = (np.cumsum(quotes) + in_string) % 2 == 1
        outside = ~(inside | quotes)
        in_string = int(quotes.sum() + in_string) % 2
        at, kinds = at[outside], kinds[outside]
        containers += int(np.count_nonzero(kinds == _OPEN))
        steps = (kinds == _OPEN).astype(np.int32) - (kinds == _CLOSE)
        levels = np.cumsum(steps, dtype=np.int32) + np.int32(depth)
        if len(levels):
            if levels.max() > MAX_DEPTH or levels.min() < 0:
                raise _error(content, "lists and objects are nested too deeply or not opened", 0)
            depth = int(levels[-1])
        commas = kinds == _COMMA
        places.append(at[commas] + begin)
        depths.append(levels[commas])
    if containers > max_containers:
        raise LimitExceeded("body", "lists and objects", containers, max_containers)
    if in_string or depth:
        raise _error(content, "unexpected end of data", len(content))
    return _Commas(np.concatenate(places), np.concatenate(depths))


def _blocks(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the bounds of blocks; no block ends between a backslash and the escaped byte."""
    begin = 0
    while begin < len(content):
        end = min(begin + SCAN_BYTES, len(content))
        while end < len(content) and content[end - 1] == ord("\\"):
            end += 1
        yield begin, end
        begin = end


def _marks(block: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the places and kinds of unescaped quotes, brackets and commas."""
    kinds = _KINDS[block]
    backslashes = np.flatnonzero(block == ord("\\"))
    if len(backslashes):
        # In a run of backslashes, every other one escapes the next byte.
        order = np.arange(len(backslashes))
        starts = np.where(np.diff(backslashes, prepend=-2) != 1, order, 0)
        escaping = (order - np.maximum.accumulate(starts)) % 2 == 0
        escaped = backslashes[escaping] + 1
        kinds[escaped[escaped < len(block)]] = 0
    at = np.flatnonzero(kinds)
    return at, kinds[at]


def _error(content: bytes, problem: str, place: int, further: int = 0) -> orjson.JSONDecodeError:
    """Return the error at ``further`` characters behind a byte of the document."""
    before = content[:place].decode(errors="replace")
    return orjson.JSONDecodeError(problem, content.decode(errors="replace"), len(before) + further)

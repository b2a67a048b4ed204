"""Parses a JSON body, with errors that name the place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import orjson

from deployments.ingress.errors.http_errors import InvalidJson
from deployments.ingress.middleware.large_bodies import INLINE_BYTES
from deployments.ingress.wire.json_slices import loads_in_slices

SEARCH_BYTES = 2 * 2**20
"""Bytes up to which a body is parsed again to locate a lone surrogate; the second parser holds the
interpreter lock for about 20 ms per MiB.
"""

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAY_HAVE = (str, list, dict)

T = TypeVar("T", int, str)


def parse_json(body: bytes, max_containers: int) -> Any:
    """Return the value of a body; a large body is parsed in slices.

    Raises:
        LimitExceeded: a large body has more than ``max_containers`` lists and objects. A small
            body is too short for a number that matters.
        InvalidJson: it is not JSON in UTF-8; the error gives the line, the column and the byte,
            or for a lone surrogate the text and the character.
    """
    try:
        if len(body) > INLINE_BYTES:
            return loads_in_slices(body, max_containers=max_containers)
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _explained(body, error) from None


def _explained(body: bytes, error: orjson.JSONDecodeError) -> InvalidJson:
    """Return why a body cannot be parsed."""
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        return InvalidJson(f"is not UTF-8 at byte {wrong.start} (0x{body[wrong.start]:02X})")
    if "surrogate" in error.msg and len(body) <= SEARCH_BYTES:
        found = _first_surrogate(text)
        if found is not None:
            return InvalidJson(f"is not valid JSON: {found}")
    at = len(text[: error.pos].encode())
    place = f"at line {error.lineno} column {error.colno} (byte {at})"
    return InvalidJson(f"is not valid JSON: {error.msg} {place}")


def _first_surrogate(text: str) -> str | None:
    """Return where a JSON document has a lone surrogate, which Unicode text cannot have."""
    try:
        found = _lone_in(json.loads(text))
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    lone, path = found
    problem = f"has a lone surrogate (U+{ord(lone[0]):04X}) at character {lone.start()}"
    return f"'{path.removeprefix('.')}' {problem}"


def _lone_in(value: Any) -> tuple[re.Match[str], str] | None:
    """Return the first lone surrogate of a value, and the path to it.

    The path is built on the way back, because most values need none.
    """
    if isinstance(value, str):
        lone = _SURROGATE.search(value)
        return lone and (lone, "")
    if isinstance(value, list):
        return _lone_among(enumerate(value), "[{}]".format)
    for name in value:
        if lone := _SURROGATE.search(name):
            return lone, f"{_step(name)} (its name)"
    return _lone_among(value.items(), _step)


def _lone_among(
    items: Iterable[tuple[T, Any]], step: Callable[[T], str]
) -> tuple[re.Match[str], str] | None:
    for key, item in items:
        if item and isinstance(item, _MAY_HAVE) and (found := _lone_in(item)):
            return found[0], step(key) + found[1]
    return None


def _step(name: str) -> str:
    return "." + name.encode(errors="backslashreplace").decode()

"""JSON in and out by orjson: a route class that parses so, and responses of arrays.

Knows nothing of what is said in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployments.ingress.door.keys import Headers
from deployments.ingress.door.refusals import InvalidJson


class OrjsonRoute(APIRoute):
    """A route whose body is JSON by its header, parsed by orjson.

    orjson also refuses what JSON does not have: NaN, infinite numbers, lone surrogates.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler on a request that parses itself by orjson."""
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle_orjson(request: Request) -> Response:
            parsed = _ParsedRequest(request.scope, request.receive)
            if takes_body:
                check_content_type(request.scope["headers"])
                # Here, because FastAPI would answer in its own words. It refuses an empty body.
                body = await parsed.body()
                parsed.content = parse_json(body) if body else None
            return await handle(parsed)

        return handle_orjson


class _ParsedRequest(Request):
    content: Any = None

    async def json(self) -> Any:
        return self.content


def parse_json(body: bytes) -> Any:
    """Return the value that a body holds.

    Raises:
        InvalidJson: it is not JSON in UTF-8; the error gives the line, the column and the byte,
            and for a lone surrogate the text that has it and the character there.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _explained(body, error) from None


def _explained(body: bytes, error: orjson.JSONDecodeError) -> InvalidJson:
    """Return why a body cannot be parsed; takes the time of another parser, on this path only."""
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        return InvalidJson(f"is not UTF-8 at byte {wrong.start} (0x{body[wrong.start]:02X})")
    if "surrogate" in error.msg and (found := _first_surrogate(text)) is not None:
        return InvalidJson(f"is not valid JSON: {found}")
    at = len(text[: error.pos].encode())
    place = f"at line {error.lineno} column {error.colno} (byte {at})"
    return InvalidJson(f"is not valid JSON: {error.msg} {place}")


def _first_surrogate(text: str) -> str | None:
    """Return where a JSON document has a lone surrogate, which no text in Unicode has."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        field, value = waiting.pop()
        if isinstance(value, str) and (lone := _SURROGATE.search(value)):
            return (
                f"'{field}' has a lone surrogate (U+{ord(lone[0]):04X}) at character {lone.start()}"
            )
        if isinstance(value, list):
            waiting += [(f"{field}[{row}]", value[row]) for row in reversed(range(len(value)))]
        elif isinstance(value, dict):
            for name in reversed(value):
                shown = name.encode(errors="backslashreplace").decode()
                inside = f"{field}.{shown}" if field else shown
                waiting += [(inside, value[name]), (f"the name of {inside}", name)]
    return None


_SURROGATE = re.compile("[\ud800-\udfff]")


def json_response(content: Any) -> Response:
    """Return a JSON response; numpy arrays are written as they are, without Python floats."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


def json_lines(objects: Iterable[Any]) -> bytes:
    """Return a line of JSON for every object."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(one, option=option) for one in objects)


def check_content_type(headers: Headers) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        HTTPException: 415, as said.
    """
    kind = dict(headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise HTTPException(415, "the content-type must be application/json")

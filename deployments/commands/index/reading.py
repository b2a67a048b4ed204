"""``embedder index list``, ``describe`` and ``search``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from deployments.commands.arguments import Commands, add_command
from deployments.commands.connecting import operate
from deployments.commands.models import print_table
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import CollectionInfo, Hit, Metric

COLUMNS = ("collection", "points", "width", "metric", "index", "serving", "model")
SHOWN_CHARACTERS = 80
"""Characters of a hit's text that are printed."""


def add_reading(actions: Commands) -> None:
    """Add the commands that change nothing."""
    listing = add_command(actions, "list", _list, "print all collections")
    listing.add_argument("--json", action="store_true", help="everything, as JSON")
    describe = add_command(
        actions, "describe", _describe, "print the full description of a collection"
    )
    describe.add_argument("name")
    search = add_command(actions, "search", _search, "find the points nearest to a text")
    search.add_argument("name")
    search.add_argument("text")
    search.add_argument("--top-k", type=int, default=10)
    search.add_argument("--filter", metavar="JSON", help='like {"year": {"$gte": 2000}}')
    search.add_argument("--json", action="store_true", help="a point a line, with its metadata")


def _list(options: argparse.Namespace) -> None:
    infos = operate(options, lambda operation: operation.index.collections(NEVER))
    if options.json:
        print(json.dumps([asdict(info) for info in infos], indent=2))
        return
    print_table([COLUMNS, *map(_cells, infos)])


def _describe(options: argparse.Namespace) -> None:
    info = operate(options, lambda operation: operation.index.describe(options.name, NEVER))
    print_table([(name, _cell(value)) for name, value in asdict(info).items()])


def _search(options: argparse.Namespace) -> None:
    condition = None if options.filter is None else _filter(options.filter)
    hits = operate(
        options,
        lambda operation: operation.search(options.name, options.text, options.top_k, condition),
    )
    if options.json:
        for hit in hits:
            print(_json_line(hit))
    else:
        print_table([_hit_cells(hit) for hit in hits])


def _filter(text: str) -> Filter:
    try:
        return parse(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidInput("filter", f"is not JSON: {error}") from None


def _cells(info: CollectionInfo) -> tuple[str, ...]:
    values = (info.name, info.count, info.width, info.metric, info.kind, info.serving, info.model)
    return tuple(map(_cell, values))


def _cell(value: Any) -> str:
    if isinstance(value, Metric):
        return value.value
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _hit_cells(hit: Hit) -> tuple[str, ...]:
    text = " ".join((hit.text or "").split())
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return f"{hit.score:.4f}", _printable(hit.id), _printable(shown)


def _printable(text: str) -> str:
    """Return a text with escapes in place of line breaks and terminal control characters."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _json_line(hit: Hit) -> str:
    fields = asdict(hit)
    del fields["vector"]
    return json.dumps(fields, ensure_ascii=False)

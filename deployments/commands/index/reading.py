"""``embedder index list``, ``describe`` and ``search``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deployments.commands.arguments import Commands, add_command
from deployments.commands.connecting import operate
from deployments.commands.models import print_table
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput
from embedder.index.contract.points import CollectionInfo, Metric

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
    search.add_argument("--hybrid", action="store_true", help="search by the words of the text too")
    search.add_argument(
        "--rerank", action="store_true", help="order the points by a model that reads their texts"
    )
    search.add_argument("--rerank-model", metavar="NAME", help="default: the first that can rerank")
    search.add_argument("--candidates", type=int, help="points that the model reads")
    search.add_argument(
        "--json", action="store_true", help="a point a line, with its metadata and scores"
    )


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
    body = _body(options)
    hits = operate(options, lambda operation: operation.search(options.name, body))
    if options.json:
        for hit in hits:
            print(json.dumps(hit, ensure_ascii=False))
    else:
        print_table([_hit_cells(hit) for hit in hits])


def _body(options: argparse.Namespace) -> dict[str, Any]:
    """Return the body of a request that searches as the options say."""
    body = {"text": options.text, "top_k": options.top_k, "include": ["text", "metadata"]}
    if options.filter is not None:
        body["filter"] = _filter(options.filter)
    if options.hybrid:
        body["hybrid"] = {}
    rerank = {"model": options.rerank_model, "candidates": options.candidates}
    given = {name: value for name, value in rerank.items() if value is not None}
    if options.rerank or given:
        body["rerank"] = given
    if options.json:
        body["include"].append("scores")
    return body


def _filter(text: str) -> Any:
    try:
        return json.loads(text)
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


def _hit_cells(hit: Mapping[str, Any]) -> tuple[str, ...]:
    text = " ".join((hit["text"] or "").split())
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    score = "-" if hit["score"] is None else f"{hit['score']:.4f}"
    return score, _printable(hit["id"]), _printable(shown)


def _printable(text: str) -> str:
    """Return a text with escapes in place of line breaks and terminal control characters."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )

"""``embedder index``: list, fill, search, carry and delete collections of the running service."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.commands.arguments import Commands, add_service
from deployments.commands.connecting import connected
from deployments.commands.index.files import DATA_HELP, add_file_commands, index_files
from deployments.commands.index.reembed import add_reembed
from deployments.commands.lines import numbered_lines
from deployments.commands.models import table
from deployments.commands.progress import bar
from embedder.core.errors import InvalidInput
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import Filter
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import CollectionInfo, Hit, Metric, Spec

if TYPE_CHECKING:
    from deployments.operations.backups import IndexBackups
    from deployments.operations.collections import CollectionOperations

T = TypeVar("T")

COLUMNS = ("collection", "points", "width", "metric", "index", "serving", "model")
SHOWN_CHARACTERS = 80
"""Of the text of a point that was found."""

ON_NODE = "on the node of the shard; several shards write a part each, on their own nodes"


def add(commands: Commands) -> None:
    """Add the command, and what can be done with collections."""
    index = commands.add_parser("index", help="look into, fill, search or carry collections")
    actions = index.add_subparsers(required=True)
    _add_reading(actions)
    _add_writing(actions)
    _add_carrying(actions)
    for action in actions.choices.values():
        add_service(action)
    add_file_commands(actions)


def _add_reading(actions: Commands) -> None:
    listing = actions.add_parser("list", help="print all collections")
    listing.add_argument("--json", action="store_true", help="everything, as JSON")
    listing.set_defaults(run=_list)
    describe = actions.add_parser("describe", help="print everything known of a collection")
    describe.add_argument("name")
    describe.set_defaults(run=_describe)
    search = actions.add_parser("search", help="find the points nearest to a text")
    search.add_argument("name")
    search.add_argument("text")
    search.add_argument("--top-k", type=int, default=10)
    search.add_argument("--filter", metavar="JSON", help='like {"year": {"$gte": 2000}}')
    search.add_argument("--json", action="store_true", help="a point a line, with its metadata")
    search.set_defaults(run=_search)


def _add_writing(actions: Commands) -> None:
    create = actions.add_parser("create", help="create a collection, or confirm one as it is")
    create.add_argument("name")
    create.add_argument("--metric", choices=[one.value for one in Metric], default="cosine")
    create.add_argument("--kind", choices=[one.value for one in IndexKind], default="auto")
    create.add_argument("--width", type=int, help="where left out, that of the first vector")
    create.add_argument("--model", help="for its texts; the default one where left out")
    create.set_defaults(run=_create)
    fill = actions.add_parser(
        "add",
        help="set the points of a file",
        description="Set the points of a file; a collection that is not there is created. May be "
        "interrupted and run again: the same points again change nothing.",
    )
    fill.add_argument("name")
    fill.add_argument(
        "file",
        type=Path,
        help=".jsonl[.gz], or -: an object a line with id, text or vector, and metadata",
    )
    fill.set_defaults(run=_add)
    add_reembed(actions)
    delete = actions.add_parser("delete", help="delete a collection with all its points")
    delete.add_argument("name")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=_delete)


def _add_carrying(actions: Commands) -> None:
    back_up = actions.add_parser("backup", help="copy a collection while it is written")
    back_up.add_argument("name")
    back_up.add_argument("folder", type=Path, help=f"a new folder {ON_NODE}")
    back_up.set_defaults(run=_back_up)
    restore = actions.add_parser("restore", help="make a collection of a backup")
    restore.add_argument(
        "folder",
        type=Path,
        help="what backup wrote, in the same place; as many shards as then must run",
    )
    restore.add_argument("name", help="of the collection, which must be new without --replace")
    restore.add_argument(
        "--replace", action="store_true", help="take the place of the collection of this name"
    )
    restore.add_argument(
        "--config", type=Path, help="work on the files of a stopped service of this configuration"
    )
    restore.add_argument("--data", type=Path, metavar="DIR", help=f"likewise: {DATA_HELP}")
    restore.set_defaults(run=_restore)
    export = actions.add_parser("export", help="write a collection to Parquet, for other tools")
    export.add_argument("name")
    export.add_argument(
        "file", type=Path, metavar="FILE.parquet", help=f"a new file, or folder of files, {ON_NODE}"
    )
    export.set_defaults(run=_export)


def _list(options: argparse.Namespace) -> int:
    infos = _operate(options, lambda operation: operation.collections())
    if options.json:
        print(json.dumps([asdict(info) for info in infos], indent=2))
        return 0
    for line in table([COLUMNS, *map(_cells, infos)]):
        print(line)
    return 0


def _describe(options: argparse.Namespace) -> int:
    info = _operate(options, lambda operation: operation.describe(options.name))
    for line in table([(name, _shown(value)) for name, value in asdict(info).items()]):
        print(line)
    return 0


def _create(options: argparse.Namespace) -> int:
    kind = IndexKind(options.kind)
    spec = Spec(Metric(options.metric), kind, options.width, options.model)
    info = _operate(options, lambda operation: operation.create(options.name, spec))
    print(f"{info.name} is there, with {info.count:,} points")
    return 0


def _add(options: argparse.Namespace) -> int:
    from deployments.operations.point_lines import read_points

    points = read_points(numbered_lines(options.file))
    with bar(None, " points") as progress:
        count = _operate(options, lambda operation: operation.add(options.name, points, progress))
    print(f"{count:,} points are in {options.name}")
    return 0


def _search(options: argparse.Namespace) -> int:
    condition = None if options.filter is None else _filter(options.filter)
    hits = _operate(
        options,
        lambda operation: operation.search(options.name, options.text, options.top_k, condition),
    )
    for line in map(_json_of, hits) if options.json else table([_line_of(hit) for hit in hits]):
        print(line)
    return 0


def _delete(options: argparse.Namespace) -> int:
    if not options.yes:
        info = _operate(options, lambda operation: operation.describe(options.name))
        if not _agreed(f"Delete {info.name} with its {info.count:,} points?"):
            print("nothing is deleted; --yes says so beforehand", file=sys.stderr)
            return 1
    _operate(options, lambda operation: operation.delete(options.name))
    print(f"{options.name} is deleted")
    return 0


def _back_up(options: argparse.Namespace) -> int:
    folder = options.folder.absolute()
    count = _carry(options, lambda carrying: carrying.back_up(options.name, folder))
    print(f"{count:,} points are in {folder}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    folder = options.folder.absolute()
    if options.config or options.data:
        files = index_files(options.config, options.data)
        info = files.restore(folder, options.name, replacing=options.replace)
    else:
        info = _carry(
            options,
            lambda carrying: carrying.restore(folder, options.name, replacing=options.replace),
        )
    print(f"{info.name} is there, with {info.count:,} points")
    return 0


def _export(options: argparse.Namespace) -> int:
    file = options.file.absolute()
    count = _carry(options, lambda carrying: carrying.export(options.name, file))
    print(f"{count:,} points are in {file}")
    return 0


def _operate(
    options: argparse.Namespace, work: Callable[[CollectionOperations], Awaitable[T]]
) -> T:
    with connected(options) as service:
        from deployments.operations.collections import CollectionOperations

        return asyncio.run(_awaited(work(CollectionOperations(service))))


def _carry(options: argparse.Namespace, work: Callable[[IndexBackups], Awaitable[T]]) -> T:
    with connected(options) as service:
        from deployments.operations.backups import IndexBackups

        return asyncio.run(_awaited(work(IndexBackups(service))))


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _filter(text: str) -> Filter:
    try:
        return parse(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidInput("filter", f"is no JSON: {error}") from None


def _agreed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _cells(info: CollectionInfo) -> tuple[str, ...]:
    values = (info.name, info.count, info.width, info.metric, info.kind, info.serving, info.model)
    return tuple(map(_shown, values))


def _shown(value: Any) -> str:
    if isinstance(value, Metric):
        return value.value
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line_of(hit: Hit) -> tuple[str, ...]:
    text = " ".join((hit.text or "").split())
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return f"{hit.score:.4f}", _printable(hit.id), _printable(shown)


def _printable(text: str) -> str:
    """Return a text in which line breaks and what else steers a terminal are written as escapes."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _json_of(hit: Hit) -> str:
    found = asdict(hit)
    del found["vector"]
    return json.dumps(found, ensure_ascii=False)

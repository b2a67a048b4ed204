"""``embedder cache``: show, fill, export, import and clear the cache of the running service."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.commands.arguments import Commands, add_command, add_service
from deployments.commands.connecting import connected
from deployments.commands.lines import numbered_lines
from deployments.commands.models import print_table
from deployments.commands.progress import bar
from embedder.core.errors import InvalidInput

if TYPE_CHECKING:
    from deployments.operations.cache import CacheOperations

COLUMNS = ("cache", "entries", "bytes", "of", "hits", "misses", "evicted", "store")


def add(commands: Commands) -> None:
    """Add the command with its actions."""
    cache = commands.add_parser(
        "cache", help="show, fill, export, import or clear the cache of the running service"
    )
    actions = cache.add_subparsers(required=True)
    stats = add_command(actions, "stats", _stats, "print the size and the hits of every cache")
    stats.add_argument("--json", action="store_true", help="everything, as JSON")
    export = add_command(actions, "export", _export, "write every entry to an archive")
    export.add_argument("folder", type=Path, help="a new folder")
    importing = add_command(actions, "import", _import, "store the entries of an archive")
    importing.add_argument("folder", type=Path, help="an archive that export wrote")
    warm = add_command(actions, "warm", _warm, "embed the texts of a file, so that they are cached")
    warm.add_argument(
        "file", type=Path, help="a text a line, or .jsonl with a key 'text'; .gz of either; -"
    )
    warm.add_argument("--model", help="default: the first served model")
    add_command(actions, "clear", _clear, "delete all entries")
    purge = add_command(
        actions, "purge", _purge, "delete the entries of one model, in all revisions"
    )
    purge.add_argument("--model", required=True, help="the name that clients use")
    for action in actions.choices.values():
        add_service(action)


def _stats(options: argparse.Namespace) -> None:
    with _operation(options) as operation:
        caches = operation.stats()
    if options.json:
        print(json.dumps(caches, indent=2))
        return
    numbers = ("entries", "bytes", "max_bytes", "hits", "misses", "evicted")
    rows = [
        (
            name,
            *(f"{stats[key]:,}" for key in numbers),
            (stats.get("store") or {}).get("state", "-"),
        )
        for name, stats in caches.items()
    ]
    print_table([COLUMNS, *rows])


def _export(options: argparse.Namespace) -> None:
    with _operation(options) as operation, bar(operation.count(), " entries") as progress:
        manifest = operation.export_to(options.folder, progress)
    print(f"{manifest.count:,} entries are in {options.folder}")


def _import(options: argparse.Namespace) -> None:
    with _operation(options) as operation, bar(None, " entries") as progress:
        count = operation.import_from(options.folder, progress)
    print(f"{count:,} entries are imported")


def _warm(options: argparse.Namespace) -> None:
    with _operation(options) as operation, bar(None, " texts") as progress:
        count = operation.warm(_texts(options.file), options.model, progress)
    print(f"{count:,} texts are cached")


def _clear(options: argparse.Namespace) -> None:
    with _operation(options) as operation:
        print(f"{operation.clear():,} entries are deleted")


def _purge(options: argparse.Namespace) -> None:
    with _operation(options) as operation:
        print(f"{operation.purge(options.model):,} entries are deleted")


@contextmanager
def _operation(options: argparse.Namespace) -> Iterator[CacheOperations]:
    with connected(options) as service:
        from deployments.operations.cache import CacheOperations

        yield CacheOperations(service)


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file without empty lines.

    Raises:
        InvalidInput: the file cannot be read, or a line of a .jsonl file has no text.
    """
    is_json = ".jsonl" in path.suffixes
    for number, line in numbered_lines(path):
        try:
            text = str(json.loads(line)["text"]) if is_json else line.rstrip("\r\n")
        except (ValueError, KeyError, TypeError):
            problem = f"line {number} must be a JSON object with the key 'text'"
            raise InvalidInput("file", problem) from None
        if text:
            yield text

"""``embedder index copy``: collections from one stored index into another, without a service."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.commands.arguments import Commands, add_command
from deployments.commands.index.checks import STORE_HELP
from deployments.commands.progress import bar
from embedder.index.offline.copying import Progress


def add_copy(actions: Commands) -> None:
    """Add the command."""
    copy = add_command(
        actions,
        "copy",
        _copy,
        "copy collections into another index, also of another number of shards",
        description="Copy collections with their identities and models, and compare the number "
        "and a checksum of all points. The source is only read. If interrupted, run the same "
        "command again to continue. The exit status is 1 if a copy differs from its source.",
    )
    copy.add_argument("source", metavar="FROM", help=STORE_HELP)
    copy.add_argument("target", metavar="TO", help="likewise; created if it does not exist")
    copy.add_argument(
        "--collection",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one; repeatable",
    )
    copy.add_argument(
        "--shards", type=int, help="of a target that is created; default: those of the source"
    )
    copy.add_argument(
        "--abandon",
        action="store_true",
        help="delete unfinished copies in TO, and copy nothing",
    )


def _copy(options: argparse.Namespace) -> None:
    from deployments.operations.index_copies import abandon, copy
    from deployments.operations.stored_index import find_index, find_or_create_index

    if options.abandon:
        deleted = abandon(find_index(options.target))
        print(f"unfinished copies that are deleted: {', '.join(deleted) or 'none'}")
        return
    source = find_index(options.source)
    target = find_or_create_index(options.target, options.shards, source.shards)
    for copied in copy(source, target, options.collection, points_bar):
        print(
            f"{copied.name}: {copied.digest.count:,} points copied and verified, checksum "
            f"{copied.digest}"
        )
        if copied.was_being_reembedded:
            print(
                f"{copied.name}: its unfinished re-embedding is not copied: run 'embedder index "
                f"reembed {copied.name}' again"
            )


@contextmanager
def points_bar(count: int) -> Iterator[Progress]:
    """Draw a bar of so many points on a terminal."""
    with bar(count, " points") as progress:
        yield progress

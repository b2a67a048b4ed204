"""``embedder index backup``, ``restore`` and ``export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from deployments.commands.arguments import Commands, add_command
from deployments.commands.connecting import operate
from deployments.commands.index.checks import STORE_HELP
from deployments.commands.index.copies import points_bar

ON_NODE = "on the node of the shard; several shards write a part each, on their own nodes"


def add_backups(actions: Commands) -> None:
    """Add the commands that copy a collection to and from folders."""
    back_up = add_command(
        actions, "backup", _back_up, "copy a collection while the service uses it"
    )
    back_up.add_argument("name")
    back_up.add_argument("folder", type=Path, help=f"a new folder {ON_NODE}")
    restore = add_command(actions, "restore", _restore, "create a collection from a backup")
    restore.add_argument(
        "folder",
        type=Path,
        help="the folder of a backup, at its original path; without --store, from the same number "
        "of shards",
    )
    restore.add_argument("name", help="of the collection, which must be new without --replace")
    restore.add_argument(
        "--replace", action="store_true", help="replace the collection with this name"
    )
    export = add_command(
        actions, "export", _export, "write a collection to Parquet, for other tools"
    )
    export.add_argument("name")
    export.add_argument(
        "file", type=Path, metavar="FILE.parquet", help=f"a new file, or folder of files, {ON_NODE}"
    )
    for parser in (restore, export):
        parser.add_argument(
            "--store", metavar="STORE", help=f"work without the service, on {STORE_HELP}"
        )


def _back_up(options: argparse.Namespace) -> None:
    folder = options.folder.absolute()
    count = operate(options, lambda operation: operation.backups.back_up(options.name, folder))
    print(f"{count:,} points are in {folder}")


def _restore(options: argparse.Namespace) -> None:
    folder, name, replacing = options.folder.absolute(), options.name, options.replace
    if options.store is not None:
        from deployments.operations.index_copies import restore
        from deployments.operations.stored_index import find_index

        index = find_index(options.store)
        count = restore(index, folder, name, replacing=replacing, bar=points_bar)
    else:
        info = operate(
            options, lambda operation: operation.backups.restore(folder, name, replacing=replacing)
        )
        count = info.count
    print(f"{name} exists, with {count:,} points")


def _export(options: argparse.Namespace) -> None:
    file, name = options.file.absolute(), options.name
    if options.store is not None:
        from deployments.operations.index_copies import export
        from deployments.operations.stored_index import find_index

        count = export(find_index(options.store), name, file)
    else:
        count = operate(options, lambda operation: operation.backups.export(name, file))
    print(f"{count:,} points are in {file}")

"""``embedder index check`` and ``rebuild``: the stored rows of an index, without its service."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from deployments.commands.arguments import Commands, add_command

if TYPE_CHECKING:
    from embedder.index.storage.inspection import Inspection

STORE_HELP = "a data_directory, a postgresql:// URL, or a Serve configuration that names either"
CONFIGURATION = "serve_config.yaml"


def add_checks(actions: Commands) -> None:
    """Add the commands, which refuse files that a service uses."""
    check = add_command(
        actions,
        "check",
        _check,
        "look for damage in the rows of an index, without its service",
        description="Read every row of an index and compare it with its checksum. The exit status "
        "is 1 if anything is damaged.",
    )
    rebuild = add_command(
        actions,
        "rebuild",
        _rebuild,
        "make damaged files and all snapshots again from intact rows",
        description="Rebuild each damaged file from its intact collections, keep the old file "
        "beside it, and name the collections that must be restored from a backup. Then build the "
        "FAISS segments again from the rows, and save them.",
    )
    for parser in (check, rebuild):
        parser.add_argument(
            "store",
            nargs="?",
            default=CONFIGURATION,
            metavar="STORE",
            help=f"{STORE_HELP} ({CONFIGURATION})",
        )


def _check(options: argparse.Namespace) -> int:
    from deployments.operations.index_checks import check
    from deployments.operations.stored_index import find_index

    found = check(find_index(options.store))
    for shard, inspection in found.items():
        _print(shard, inspection)
    damaged = [shard for shard, inspection in found.items() if not inspection.is_undamaged]
    if damaged:
        print(f"embedder: {', '.join(damaged)}: damaged", file=sys.stderr)
    return 1 if damaged else 0


def _rebuild(options: argparse.Namespace) -> None:
    from deployments.operations.index_checks import rebuild
    from deployments.operations.stored_index import find_index

    for rebuilt in rebuild(find_index(options.store)):
        _print(rebuilt.shard, rebuilt.inspection)
        if rebuilt.old_file is not None:
            print(
                f"{rebuilt.shard}: rebuilt from its intact collections; the old file is "
                f"{rebuilt.old_file}"
            )


def _print(shard: str, inspection: Inspection) -> None:
    if inspection.problem is not None:
        print(f"{shard}: the file is damaged ({inspection.problem}): run 'embedder index rebuild'")
    for collection in inspection.collections:
        if collection.problem is None:
            print(f"{shard}: {collection.name}: {collection.count:,} points, intact")
        else:
            print(
                f"{shard}: {collection.name}: damaged ({collection.problem}): restore it with "
                f"'embedder index restore BACKUP {collection.name} --replace'"
            )

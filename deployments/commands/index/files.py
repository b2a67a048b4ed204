"""``embedder index check`` and ``repair``: the files of an index that no service has open."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.commands.arguments import Commands, add_command, add_config
from deployments.launch.preflight import load_applications, read_config
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.operations.index_files import IndexFiles
    from embedder.index.inspection import Inspection

DATA_HELP = "the data_directory of a service, instead of a configuration"


def add_file_commands(actions: Commands) -> None:
    """Add the commands, which refuse to work while a service uses the files."""
    check = add_command(
        actions,
        "check",
        _check,
        "look for damage in the files of a stopped service",
        "Read every row of a stopped service's index and compare it with its "
        "checksums. The exit status is 1 if anything is damaged.",
    )
    repair = add_command(
        actions,
        "repair",
        _repair,
        "rebuild damaged files of a stopped service from their intact collections",
        "Rebuild each damaged file from its intact collections, keep the old file "
        "beside it, and name the collections that must be restored from a backup.",
    )
    for parser in (check, repair):
        add_config(parser)
        parser.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)


def index_files(config: Path, data: Path | None) -> IndexFiles:
    """Return the files of a configuration's index, or of a data directory.

    Raises:
        ConfigurationError: the configuration is invalid, or there is no index.
    """
    from deployments.operations.index_files import IndexFiles

    if data is not None:
        return IndexFiles(ServeSettings(data_directory=str(data.absolute())))
    for _, loaded, _ in load_applications(read_config(config)):
        return IndexFiles(loaded.settings)
    raise ConfigurationError(f"{config} has no application of this service")


def _check(options: argparse.Namespace) -> int:
    found = index_files(options.config, options.data).check()
    for shard, inspection in found.items():
        _print(shard, inspection)
    damaged = [shard for shard, inspection in found.items() if not inspection.is_undamaged]
    if damaged:
        print(f"embedder: {', '.join(damaged)}: damaged", file=sys.stderr)
    return 1 if damaged else 0


def _repair(options: argparse.Namespace) -> int:
    for shard, (inspection, aside) in index_files(options.config, options.data).repair().items():
        _print(shard, inspection)
        if aside is not None:
            print(f"{shard}: rebuilt from its sound collections; the old file is {aside}")
    return 0


def _print(shard: str, inspection: Inspection) -> None:
    if inspection.problem is not None:
        print(f"{shard}: the file is damaged ({inspection.problem}): run 'embedder index repair'")
    for collection in inspection.collections:
        if collection.problem is None:
            print(f"{shard}: {collection.name}: {collection.count:,} points, intact")
        else:
            print(
                f"{shard}: {collection.name}: damaged ({collection.problem}): restore it with "
                f"'embedder index restore BACKUP {collection.name} --replace'"
            )

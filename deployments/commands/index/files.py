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
    from embedder.index.storage.sqlite.inspection import Inspection

DATA_HELP = "the data_directory of a service, instead of a configuration"


def add_file_commands(actions: Commands) -> None:
    """Add the commands, which refuse to work while a service uses the files."""
    check = add_command(
        actions,
        "check",
        _check,
        "look for damage in the files of a stopped service",
        description="Read every row of a stopped service's index and compare it with its "
        "checksums. The exit status is 1 if anything is damaged.",
    )
    repair = add_command(
        actions,
        "repair",
        _repair,
        "rebuild damaged files of a stopped service from their intact collections",
        description="Rebuild each damaged file from its intact collections, keep the old file "
        "beside it, and name the collections that must be restored from a backup.",
    )
    for parser in (check, repair):
        add_config(parser)
        parser.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)


def settings_of(config: Path, data: Path | None) -> ServeSettings:
    """Return the settings of a configuration, or of a service with this data directory.

    Raises:
        ConfigurationError: the configuration is invalid, or has no application of this service.
    """
    if data is not None:
        return ServeSettings(data_directory=str(data.absolute()))
    for _, loaded, _ in load_applications(read_config(config)):
        return loaded.settings
    raise ConfigurationError(f"{config} has no application of this service")


def _check(options: argparse.Namespace) -> int:
    from deployments.operations.index_files import shard_folders
    from embedder.index.storage.sqlite.inspection import inspect

    folders = shard_folders(settings_of(options.config, options.data))
    found = {folder.name: inspect(folder) for folder in folders}
    for shard, inspection in found.items():
        _print(shard, inspection)
    damaged = [shard for shard, inspection in found.items() if not inspection.is_undamaged]
    if damaged:
        print(f"embedder: {', '.join(damaged)}: damaged", file=sys.stderr)
    return 1 if damaged else 0


def _repair(options: argparse.Namespace) -> None:
    from deployments.operations.index_files import shard_folders
    from embedder.index.storage.sqlite.inspection import repair

    folders = shard_folders(settings_of(options.config, options.data))
    repaired = {folder.name: repair(folder) for folder in folders}
    for shard, (inspection, aside) in repaired.items():
        _print(shard, inspection)
        if aside is not None:
            print(f"{shard}: rebuilt from its sound collections; the old file is {aside}")


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

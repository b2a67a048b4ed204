"""Arguments that several commands share, and the settings that they make."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from embedder.core.errors import ConfigurationError
from embedder.settings.model import EmbedderSettings
from embedder.settings.sources import LoadedSettings, load

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `argparse` calls the place that commands are added to."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Take a Serve configuration, with the shipped one's name where none is given."""
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        default=Path("serve_config.yaml"),
        help="a Serve configuration (serve_config.yaml)",
    )


def add_service(parser: argparse.ArgumentParser) -> None:
    """Take the options that choose one service of this machine."""
    parser.add_argument("--port", type=int, help="of the service, where several run here")
    parser.add_argument(
        "--data-directory", type=Path, metavar="FOLDER", help="of the service, likewise"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Take the library's settings from a file and from the command line."""
    parser.add_argument("--settings", type=Path, help="a YAML or TOML file of settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="one setting, like backend.dtype=int8; goes before the file and the environment",
    )
    parser.add_argument("--model", help="alias of the catalogue, or a directory: model.name")


def load_settings(options: argparse.Namespace) -> LoadedSettings[EmbedderSettings]:
    """Return the settings that arguments, environment and file make.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    arguments = parse_assignments(options.set)
    if options.model is not None:
        arguments["model.name"] = options.model
    return load(
        EmbedderSettings, arguments=arguments, environment=os.environ, file=options.settings
    )


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return paths and values of ``PATH=VALUE``.

    Raises:
        ConfigurationError: one has no equals sign.
    """
    for assignment in assignments:
        if "=" not in assignment:
            raise ConfigurationError(f"--set {assignment}: write it as PATH=VALUE")
    return {path: value for path, _, value in (one.partition("=") for one in assignments)}

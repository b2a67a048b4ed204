"""Arguments that several commands share, and the settings that they make."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from embedder.core.errors import ConfigurationError
from embedder.settings.model import EmbedderSettings
from embedder.settings.sources import LoadedSettings, load

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The type of the object to which `argparse` adds commands."""


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    help: str,
    description: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command and return its parser; ``run`` returns the exit status, None for 0."""
    parser = commands.add_parser(name, help=help, description=description)
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument for a Serve configuration; its default is serve_config.yaml."""
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        default=Path("serve_config.yaml"),
        help="a Serve configuration (serve_config.yaml)",
    )


def add_service(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose one service of this machine, if several run."""
    parser.add_argument(
        "--address",
        help="of the service, as 'embedder status' prints it: http://127.0.0.1:8000, "
        "127.0.0.1:8000, its port 8000, or the address of its Ray",
    )
    parser.add_argument(
        "--started-in", metavar="FOLDER", help="the service that 'embedder serve' started there"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options for the library's settings, in a file and on the command line."""
    parser.add_argument("--settings", type=Path, help="a YAML or TOML file of settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="one setting, like backend.dtype=int8; overrides the file and the environment",
    )
    parser.add_argument("--model", help="alias of the catalogue, or a directory: model.name")


def option_of(name: str) -> str:
    """Return the option that sets an argument."""
    return f"--{name.replace('_', '-')}"


def load_settings(options: argparse.Namespace) -> LoadedSettings[EmbedderSettings]:
    """Return the settings from the arguments, the environment and the file.

    Raises:
        ConfigurationError: a setting is unknown or invalid.
    """
    arguments = parse_assignments(options.set)
    if options.model is not None:
        arguments["model.name"] = options.model
    return load(
        EmbedderSettings, arguments=arguments, environment=os.environ, file=options.settings
    )


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return the values of ``PATH=VALUE`` by path.

    Raises:
        ConfigurationError: an assignment has no equals sign.
    """
    for assignment in assignments:
        if "=" not in assignment:
            raise ConfigurationError(f"--set {assignment}: write it as PATH=VALUE")
    return dict(assignment.split("=", 1) for assignment in assignments)

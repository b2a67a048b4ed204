"""``embedder deploy``: apply a changed configuration to a running service."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from deployments.commands.arguments import Commands, add_command, add_config, add_service
from deployments.commands.connecting import connected
from deployments.launch.database.passwords import hide_passwords
from deployments.launch.preflight import check_contents, read_config
from deployments.launch.services import choose
from embedder.core.errors import ConfigurationError


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    deploy = add_command(
        commands,
        "deploy",
        run,
        "apply a changed configuration to the running service, without a restart",
    )
    add_config(deploy)
    add_service(deploy)


def run(options: argparse.Namespace) -> None:
    """Check and apply the configuration; return when its replicas run, before models are loaded."""
    document = read_config(options.config)
    check_contents(document)
    with connected(options) as service:
        # Of a service elsewhere the folder is not here: its nodes have password files.
        with suppress(ConfigurationError):
            folder = Path(choose(options.port, options.data_directory).folder)
            document = hide_passwords(document, folder)
        service.deploy(document)
    print(f"{options.config} is applied; GET /v1/models lists the models that are ready")

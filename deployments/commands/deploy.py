"""``embedder deploy``: apply a changed configuration to a running service."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.commands.arguments import Commands, add_command, add_config, add_service
from deployments.commands.connecting import chosen, connected_to
from deployments.launch.database.passwords import hide_passwords
from deployments.launch.preflight import check_contents, read_config
from deployments.launch.services.choice import Candidate


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
    choice = chosen(options)
    with connected_to(choice) as service:
        service.deploy(_without_passwords(document, choice))
    print(f"{options.config} is applied; GET /v1/models lists the models that are ready")


def _without_passwords(document: Mapping[str, Any], choice: Candidate) -> Mapping[str, Any]:
    """Move passwords to the folder of the service; the nodes of one elsewhere have their own."""
    if choice.service is None:
        return document
    return hide_passwords(document, Path(choice.service.folder))

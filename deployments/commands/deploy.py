"""``embedder deploy``: apply a changed configuration to a running service."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.commands.arguments import Commands, add_command, add_config, add_service
from deployments.commands.connecting import connected
from deployments.launch.database.passwords import hide_passwords
from deployments.launch.preflight import check_contents, read_config
from deployments.launch.services import ray_addresses
from deployments.operations.addressing import ray_address


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
        service.deploy(_without_passwords(document, options))
    print(f"{options.config} is applied; GET /v1/models lists the models that are ready")


def _without_passwords(
    document: Mapping[str, Any], options: argparse.Namespace
) -> Mapping[str, Any]:
    """Move passwords to the folder of the service; the nodes of one elsewhere have their own."""
    address = ray_address(os.environ, options.port, options.data_directory)
    service = ray_addresses().get(address)
    return document if service is None else hide_passwords(document, Path(service.folder))

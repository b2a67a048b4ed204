"""``embedder status``: lists the services of this machine, with what other commands need."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from deployments.commands.arguments import Commands, add_command, add_service
from deployments.launch.services.choice import candidates, choose
from deployments.operations.service_status import ServiceStatus, statuses

NOT_READY = 3
"""The exit status of `systemctl status` for a service that does not run."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    status = add_command(
        commands,
        "status",
        run,
        "list the services of this machine: addresses, readiness, models, processes",
        f"Exits with 0 if every listed service is ready, with {NOT_READY} if one is not or none "
        "runs. Of a Ray that 'embedder serve' did not start it prints the address alone.",
    )
    status.add_argument("--json", action="store_true", help="print a list of objects as JSON")
    add_service(status)


def run(options: argparse.Namespace) -> int:
    """Print the services of this machine, or the chosen one; return the exit status."""
    found = candidates()
    if options.address is not None or options.started_in is not None:
        found = [choose(found, {}, options.address, options.started_in)]
    listed = statuses(found, os.environ)
    if options.json:
        print(json.dumps([asdict(one) for one in listed], indent=2))
    else:
        print("\n\n".join(map(_text, listed)) or "no service runs here")
    ours = [one.ready for one in listed if one.address is not None]
    return 0 if ours and all(ours) else NOT_READY


def _text(status: ServiceStatus) -> str:
    """Return the lines of one service; facts that are not known are left out."""
    if status.address is None:
        return f"Ray at {status.ray_address}: {status.problem}"
    state = "ready" if status.ready else "not ready"
    heading = f"{status.address}  {state}{f' ({status.problem})' if status.problem else ''}"
    lines = {
        "models": ", ".join(status.models or ()),
        "version": status.version,
        "started": f"{status.started_at or ''} by process {status.started_by}".strip(),
        "folder": status.started_in,
        "configuration": status.config,
        "data": status.data_directory or "memory",
        "dashboard": status.dashboard,
        "logs": status.logs,
        "token file": status.token_file,
        "RAY_ADDRESS": status.ray_address,
        "processes": " ".join(map(str, status.processes)),
    }
    return "\n".join([heading, *(f"  {name:13}  {fact}" for name, fact in lines.items() if fact)])

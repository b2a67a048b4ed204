"""``embedder stop``: ends a service of this machine, also one whose `embedder serve` was killed."""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import suppress

from deployments.commands.arguments import Commands, add_command, add_service
from deployments.launch.services.choice import ADDRESS_VARIABLE, candidates, choose
from deployments.launch.services.instances import end, remove_folders
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError

STOP_S = 60.0
"""Seconds to wait for `embedder serve`, which itself gives its service 45 s."""

POLL_S = 0.1


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    stop = add_command(
        commands,
        "stop",
        run,
        "end a service of this machine, or the remaining processes of a killed one",
    )
    add_service(stop)


def run(options: argparse.Namespace) -> None:
    """End the chosen service, gracefully if its `embedder serve` still runs."""
    remove_folders()
    ours = [one for one in candidates() if one.service is not None]
    service = choose(ours, os.environ, options.address, options.started_in).service
    if service is None:
        raise ConfigurationError(
            f"{ADDRESS_VARIABLE} is {os.environ[ADDRESS_VARIABLE]}, and no service that 'embedder "
            "serve' started on this machine has that Ray; choose one by --address"
        )
    described = str(service)
    if service.is_attended:
        with suppress(ProcessLookupError):
            os.kill(service.starter, signal.SIGTERM)
        deadline = Deadline.after(STOP_S)
        while service.is_attended and not deadline.expired:
            time.sleep(POLL_S)
    if remaining := end(service):
        raise ConfigurationError(f"these processes do not end: {', '.join(map(str, remaining))}")
    print(f"ended: {described}")

"""The files by which a new service becomes visible to other services and to commands."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from deployments.launch.ray_token import stored_token
from deployments.launch.services.description import ServiceDescription, write_description
from deployments.launch.services.instances import (
    MARK_FILE,
    PREFIX,
    ServiceInstance,
    ray_addresses,
    session_folder,
)
from deployments.launch.services.process_table import start_time

DASHBOARD = re.compile(r"View the dashboard at \S*?(https?://[^\s\x1b]+)")
"""Where `serve run` prints the address of Ray's dashboard, after the codes of a colour."""


def announce(port: int, data: str | None, block: range, url: str, config: Path) -> ServiceInstance:
    """Return a service that this process starts, with a new folder of its own.

    ``data`` is its data folder, ``block`` has its ports, ``url`` its routes; ``config`` is the path
    of its Serve configuration.
    """
    folder = tempfile.mkdtemp(prefix=PREFIX)
    started = start_time(os.getpid()) or 0
    service = ServiceInstance(port, data, os.getpid(), started, folder, block.start)
    token = stored_token(os.environ)
    described = ServiceDescription(
        url=url,
        config=str(config.absolute()),
        started_in=os.path.realpath(os.curdir),
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        token_file=None if token is None else str(token),
        version=version("embedder"),
    )
    write_description(Path(folder), described)
    # Last, because other processes look for this file.
    Path(folder, MARK_FILE).write_text(service.mark)
    return service


def describe_ray(service: ServiceInstance, printed: str) -> None:
    """Write where Ray's dashboard and Serve's logs are, for other commands.

    ``printed`` is the output of `serve run`.
    """
    # The last address, because an earlier start may have written to the same file.
    dashboard = next(reversed(DASHBOARD.findall(printed)), None)
    own = [address for address, owner in ray_addresses().items() if owner == service]
    session = session_folder(own[0]) if own else None
    logs = None if session is None else str(session / "logs" / "serve")
    described = replace(service.description, dashboard=dashboard, logs=logs)
    write_description(Path(service.folder), described)

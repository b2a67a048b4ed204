"""The files by which a new service becomes visible to other services and to commands."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from deployments.launch.ray_token import stored_token
from deployments.launch.services.description import ServiceDescription, write_description
from deployments.launch.services.instances import MARK_FILE, PREFIX, ServiceInstance
from deployments.launch.services.process_table import start_time


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

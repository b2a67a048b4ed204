"""The service that a benchmark measures: one that runs, or one of its own that starts empty.

The user's data folder may hold the vectors of an earlier run, which would not be computed again.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from deployments.launch.child_process import launched

READY_S = 300.0


@contextmanager
def measured_service(url: str | None, config: Path) -> Iterator[str]:
    """Yield ``url``, or that of a service of ``config`` whose data goes with it.

    Raises:
        ConfigurationError: the configuration cannot work, or the service is not ready in time.
    """
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="embedder-data-") as folder:
        variable = {"EMBEDDER_DATA_DIRECTORY": folder}
        with mock.patch.dict(os.environ, variable), launched(config, port=_free_port()) as launch:
            launch.wait_until_ready(READY_S, lambda missing: None)
            yield launch.url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

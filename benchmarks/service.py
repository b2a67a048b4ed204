"""The service that a benchmark measures: one that runs, or one of its own that starts empty.

The user's data folder may hold the vectors of an earlier run, which would not be computed again.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from benchmarks.bench.noop import APPLICATION
from deployments.launch.child_process import launched
from deployments.launch.service_process import ServiceProcess
from tests.ports import free_port

READY_S = 300.0
ROOT = Path(__file__).parents[1]


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
        with mock.patch.dict(os.environ, variable), launched(config, port=free_port()) as launch:
            launch.wait_until_ready(READY_S, lambda missing: None)
            yield launch.url


@contextmanager
def service_with_noop(config: Path) -> Iterator[ServiceProcess]:
    """Start a service of ``config`` whose data goes with it, and a no-op beside it.

    Raises:
        ConfigurationError: the configuration cannot work, or the service is not ready in time.
    """
    document = yaml.safe_load(config.read_text("utf-8"))
    document["applications"].append(APPLICATION)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix="embedder-data-") as folder:
        changed = Path(folder, "serve_config.yaml")
        changed.write_text(yaml.safe_dump(document), "utf-8")
        variables = {
            "EMBEDDER_DATA_DIRECTORY": str(Path(folder, "data")),
            "PYTHONPATH": os.pathsep.join(paths),  # the processes of Ray import the no-op
        }
        with mock.patch.dict(os.environ, variables), launched(changed, port=free_port()) as launch:
            launch.wait_until_ready(READY_S, lambda missing: None)
            yield launch


@contextmanager
def changed_service(config: Path, changes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the URL of a service of ``config`` `with_changes`, whose data goes with it.

    Raises:
        ConfigurationError: the configuration cannot work, or the service is not ready in time.
    """
    document = with_changes(yaml.safe_load(config.read_text("utf-8")), changes)
    with tempfile.TemporaryDirectory(prefix="embedder-config-") as folder:
        changed = Path(folder, "serve_config.yaml")
        changed.write_text(yaml.safe_dump(document), "utf-8")
        with measured_service(None, changed) as url:
            yield url


def with_changes(
    document: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a Serve configuration with other values in sections of its arguments.

    A fixed number of encoders replaces the bounds of their number.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    for application in changed["applications"]:
        arguments = application.setdefault("args", {})
        for section, values in changes.items():
            arguments[section] = {**arguments.get(section, {}), **values}
        if "replicas" in changes.get("encoder", {}):
            for bound in ("min_replicas", "max_replicas"):
                arguments["encoder"].pop(bound, None)
    return changed

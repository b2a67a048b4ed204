"""Ray Serve with replicas that do nothing, started with the environment of a service."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.launch.child_process import serve_command
from deployments.launch.ports import reserved_block
from deployments.launch.ray_environment import ray_environment
from deployments.launch.ray_token import make_token
from deployments.launch.services.announcement import announce
from deployments.launch.services.instances import SESSION_FILE, ServiceInstance, end, services
from tests.ports import free_port

POLL_S = 0.05


class Ingress:
    """Answers every request with one byte."""

    def __init__(self, *stages: DeploymentHandle[Any]) -> None: ...

    async def __call__(self, _request: object) -> str:
        """Return one byte."""
        return "1"


class Stage:
    """A replica without methods."""


def build(arguments: dict[str, Any]) -> Application:
    """Return an application of ``replicas`` replicas, each a deployment of its own."""
    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": 0.1}}
    stages = [
        serve.deployment(name=f"Stage-{number}", **options)(Stage).bind()
        for number in range(arguments["replicas"] - 1)
    ]
    return serve.deployment(name="Ingress", **options)(Ingress).bind(*stages)


@contextmanager
def bare_service(replicas: int) -> Iterator[ServiceInstance]:
    """Start Ray Serve with replicas that do nothing; yield once it answers, and end it.

    Raises:
        RuntimeError: it ended while starting; the message has the end of its output.
    """
    port = free_port()
    with reserved_block([]) as block:
        service = announce(port, None, block, f"http://127.0.0.1:{port}", Path("bare"))
        config, log = Path(service.folder, "bare.yaml"), Path(service.folder, "bare.log")
        config.write_text(yaml.safe_dump(_document(port, replicas)))
        make_token(os.environ)
        with log.open("wb") as output:
            process = subprocess.Popen(
                serve_command(config),
                env=ray_environment(service, tuned=True, alone=services() == [service]),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        Path(service.folder, SESSION_FILE).write_text(str(process.pid))
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise RuntimeError(log.read_text(errors="replace")[-2000:])
                time.sleep(POLL_S)
            yield service
        finally:
            end(service)
            process.wait()


def _document(port: int, replicas: int) -> dict[str, Any]:
    application = {
        "name": "bare",
        "route_prefix": "/",
        "import_path": "benchmarks.start.bare:build",
        "args": {"replicas": replicas},
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"enable_access_log": False},
        "applications": [application],
    }


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

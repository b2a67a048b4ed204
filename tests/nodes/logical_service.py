"""The service on logical nodes of this machine, with ports and files of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.ingress.middleware.keys import new_key
from deployments.launch.ports import reserved_block
from deployments.launch.ray_environment import cluster_environment, ray_environment
from deployments.launch.ray_token import make_token
from deployments.launch.services.instances import MARK_FILE, PREFIX, ServiceInstance, end
from deployments.launch.services.process_table import start_time
from tests.nodes.logical_nodes import FOLDER_VARIABLE
from tests.nodes.service_file import ROOT, service
from tests.nodes.waiting import is_ready, wait_for
from tests.ports import free_port

HERE = Path(__file__).parent
STOP_S = 30.0
ALL = ("data", "cpu", "gpu")


@dataclass
class LogicalService:
    """A service that is ready.

    ``urls`` has where the nodes of the start answer, by their names; ``nodes`` has the ids of the
    workers. ``block`` has the ports of its replicas, and ``folder`` a data folder for each node.
    """

    urls: dict[str, str]
    headers: Mapping[str, str]
    nodes: dict[str, str]
    dashboard: str
    environment: Mapping[str, str]
    block: range
    folder: Path
    program: subprocess.Popen[str] = field(repr=False)

    def remove(self, name: str) -> None:
        """Kill every process of a worker."""
        self.urls.pop(name, None)
        assert self._told(name) == self.nodes[name]

    def add(self, name: str) -> None:
        """Start a worker, and wait until Ray knows it."""
        self.nodes[name] = self._told(name)

    def _told(self, name: str) -> str:
        """Tell the program the name of a worker, and return its answer."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{name}\n")
        self.program.stdin.flush()
        return self.program.stdout.readline().strip()

    def names(self, deployment: str) -> list[str]:
        """Return the names of the nodes of a deployment's running replicas, sorted."""
        by_id = {node: name for name, node in self.nodes.items()}
        found = self.placement()["replicas"].get(deployment, [])
        return sorted(by_id.get(node, "head") for _, node in found)

    def ingresses(self) -> dict[str, str]:
        """Return where each Ingress replica answers, past HAProxy, by its name."""
        found = {}
        for port in self.block:
            url = f"http://127.0.0.1:{port}"
            with suppress(httpx.HTTPError, ValueError):
                answer = httpx.get(f"{url}/v1/stats", headers=dict(self.headers), timeout=10)
                if answer.status_code == 200:
                    found[answer.json()["ingress"]["replica"]] = url
        return found

    def placement(self) -> dict[str, Any]:
        """Return what `tests.nodes.placement` prints."""
        command = [sys.executable, str(HERE / "placement.py"), self.dashboard]
        output = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(output.stdout)
        return found


@contextmanager
def served(folder: Path, nodes: Sequence[str] = ALL, **arguments: Any) -> Iterator[LogicalService]:
    """Serve a shipped configuration with these arguments on a head and these logical nodes.

    A ``data_directory`` of ``auto`` is another one on each node.
    """
    make_token(os.environ)
    own, port, key = tempfile.mkdtemp(prefix=PREFIX), free_port(), new_key()
    with reserved_block([]) as block:
        started = start_time(os.getpid()) or 0
        instance = ServiceInstance(port, None, os.getpid(), started, own, block.start)
        Path(own, MARK_FILE).write_text(instance.mark)
        own_files = ray_environment(instance, True, alone=False)
        own_files = {**own_files, FOLDER_VARIABLE: str(folder)}
        environment = {**cluster_environment(), **own_files, "PYTHONPATH": str(ROOT)}
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.nodes.logical_nodes", str(free_port()), *nodes],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            document = service(key, **{"data_directory": str(folder / "data"), **arguments})
            document["http_options"]["port"] = port
            path = folder / "serve_cluster.yaml"
            path.write_text(yaml.safe_dump(document))
            yield _deployed(program, environment, path, port, key, block)
        finally:
            with suppress(subprocess.TimeoutExpired):
                # It takes back the address of its Ray, to which other programs would connect.
                program.communicate(timeout=STOP_S)
            end(instance)
            program.communicate()


def _deployed(
    program: subprocess.Popen[str],
    environment: Mapping[str, str],
    path: Path,
    port: int,
    key: str,
    block: range,
) -> LogicalService:
    assert program.stdout is not None
    nodes = json.loads(program.stdout.readline())
    dashboard = f"http://{nodes['dashboard']}"
    command = [sys.executable, "-m", "ray.serve.scripts", "deploy", str(path), "-a", dashboard]
    subprocess.run(command, env=environment, check=True)
    ports = {"head": port, **nodes["ports"]}
    urls = {name: f"http://127.0.0.1:{number}" for name, number in ports.items()}
    for name, url in urls.items():
        wait_for(f"{name} is ready", partial(is_ready, url))
    headers = {"authorization": f"Bearer {key}"}
    return LogicalService(
        urls, headers, nodes["nodes"], dashboard, environment, block, path.parent, program
    )

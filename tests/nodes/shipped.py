"""A cluster of machines that is started and served as cluster.yaml and the Makefile do it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import httpx
import yaml
from ray.autoscaler._private.util import prepare_config

from deployments.ingress.middleware.keys import new_key
from tests.nodes.listeners import Listener
from tests.nodes.machines import Machine
from tests.nodes.service_file import FILE, ROOT, service

GROUPS = {"head": "head", "data": "data_worker", "cpu": "cpu_worker"}
"""The node types of cluster.yaml by the names of the machines."""

PORT = 8000
TOKEN = {"RAY_AUTH_MODE": "token"}
"""What `setup_commands` of cluster.yaml sets for each shell."""


class ShippedCluster:
    """Machines, whose names are those of `GROUPS`, with one service."""

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.key = new_key()
        self._cluster: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of a request that may do everything."""
        return {"authorization": f"Bearer {self.key}"}

    def install(self, **arguments: Any) -> None:
        """Copy to each machine what `ray up` copies, with this Python's packages.

        ``arguments`` replace those of serve_cluster.yaml.
        """
        token = secrets.token_hex(32)
        ignore = shutil.ignore_patterns(*self._cluster["rsync_exclude"])
        provider = {"type": "local", "head_ip": self.machines["head"].address, "worker_ips": []}
        # Ray's autoscaler starts on the head, and has no machines to start.
        bootstrap = prepare_config({"cluster_name": "embedder", "provider": provider})
        for machine in self.machines.values():
            code = machine.home / "embedder"
            for package in ("embedder", "deployments", "tests/nodes"):
                shutil.copytree(ROOT / package, code / package, ignore=ignore)
            (code / ".venv").symlink_to(sys.prefix)
            (code / "serve_cluster.yaml").write_text(yaml.safe_dump(service(self.key, **arguments)))
            (machine.home / ".ray").mkdir()
            (machine.home / ".ray" / "auth_token").write_text(token)
            (machine.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(bootstrap))

    def start(self, name: str) -> None:
        """Run on a machine the commands that start its node."""
        group = GROUPS[name]
        kind = "head" if group == self._cluster["head_node_type"] else "worker"
        resources = self._cluster["available_node_types"][group]["resources"]
        # As Ray's launcher passes them.
        variables = {
            "RAY_HEAD_IP": self.machines["head"].address,
            "RAY_OVERRIDE_RESOURCES": json.dumps(resources),
        }
        for command in self._cluster[f"{kind}_start_ray_commands"]:
            self.run(name, command, variables)

    def deploy(self) -> None:
        """Run on the head what `make cluster` runs there."""
        found = re.search(r"ray exec \$\(CLUSTER\) '([^']+)'", (ROOT / "Makefile").read_text())
        assert found is not None
        self.run("head", found[1].replace("$(SERVED)", FILE))

    def run(self, name: str, command: str, variables: Mapping[str, str] | None = None) -> str:
        """Return what a command on a machine prints; the code counts as installed there."""
        machine = self.machines[name]
        given = {"PYTHONPATH": str(machine.home / "embedder"), **TOKEN, **(variables or {})}
        return machine.run(command, given)

    def url(self, name: str, path: str, port: int = PORT) -> str:
        """Return the URL of a path at a machine."""
        return f"http://{self.machines[name].address}:{port}{path}"

    def embed(self, name: str, text: str, timeout_s: float = 60.0) -> httpx.Response:
        """Return the answer of a machine to a request with one text."""
        url, body = self.url(name, "/v1/embeddings"), {"input": text}
        return httpx.post(url, json=body, headers=self.headers, timeout=timeout_s)

    def placement(self) -> dict[str, Any]:
        """Return what `tests.nodes.placement` prints on the head."""
        program = "cd embedder && .venv/bin/python tests/nodes/placement.py http://127.0.0.1:8265"
        found: dict[str, Any] = json.loads(self.run("head", program))
        return found

    def names(self, deployment: str) -> list[str]:
        """Return the names of the machines of a deployment's running replicas, sorted."""
        names = {machine.address: name for name, machine in self.machines.items()}
        nodes = self.placement()["replicas"].get(deployment, [])
        return sorted(names[address] for address, _ in nodes)

    def listeners(self, name: str) -> list[Listener]:
        """Return the listening sockets of a machine."""
        program = "cd embedder && .venv/bin/python tests/nodes/listeners.py"
        return [Listener(**row) for row in json.loads(self.run(name, program))]

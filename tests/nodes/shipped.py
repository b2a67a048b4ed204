"""A cluster of machines that is started and served as cluster.yaml and the Makefile do it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.ingress.middleware.keys import digest, new_key
from tests.nodes.machines import Machine

ROOT = Path(__file__).parents[2]
READY_S = 240.0
POLL_S = 0.5
PORT = 8000


GROUPS = {"head": "head", "data": "data_worker", "cpu": "cpu_worker"}
"""The node types of cluster.yaml by the names of the machines."""


class ShippedCluster:
    """A head, a node with the data and a CPU worker, on machines of these names."""

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.head = self.machines["head"]
        self.key = new_key()
        self._cluster: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request that may do everything."""
        return {"authorization": f"Bearer {self.key}"}

    def install(self) -> None:
        """Copy to each machine what `ray up` copies, with this Python's packages."""
        token = secrets.token_hex(32)
        ignore = shutil.ignore_patterns(*self._cluster["rsync_exclude"])
        for machine in self.machines.values():
            code = machine.home / "embedder"
            for package in ("embedder", "deployments"):
                shutil.copytree(ROOT / package, code / package, ignore=ignore)
            (code / ".venv").symlink_to(sys.prefix)
            (code / "serve_cluster.yaml").write_text(self._service())
            (machine.home / ".ray").mkdir()
            (machine.home / ".ray" / "auth_token").write_text(token)
            # No machines of a provider: this is what Ray's autoscaler calls a cluster on premises.
            bootstrap = {
                "cluster_name": self._cluster["cluster_name"],
                "max_workers": 0,
                "provider": {
                    "type": "local",
                    "head_ip": self.head.address,
                    "worker_ips": [],
                },
                "auth": self._cluster["auth"],
            }
            (machine.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(bootstrap))

    def start(self, name: str) -> str:
        """Run on a machine the commands that start its node."""
        machine, group = self.machines[name], GROUPS[name]
        kind = "head" if group == self._cluster["head_node_type"] else "worker"
        resources = self._cluster["available_node_types"][group]["resources"]
        # As Ray's launcher does it.
        variables = {
            "RAY_HEAD_IP": self.head.address,
            "RAY_OVERRIDE_RESOURCES": json.dumps(resources),
        }
        commands = self._cluster[f"{kind}_start_ray_commands"]
        return "".join(self._run(machine, command, variables) for command in commands)

    def deploy(self) -> str:
        """Run on the head what `make cluster` runs there."""
        found = re.search(r"ray exec cluster\.yaml '([^']+)'", (ROOT / "Makefile").read_text())
        assert found is not None
        return self._run(self.head, found[1], {"RAY_AUTH_MODE": "token"})

    def wait_until_ready(self, names: list[str]) -> None:
        """Wait until every machine answers `/readyz` with 200.

        Raises:
            RuntimeError: it takes more than `READY_S`.
        """
        deadline = time.monotonic() + READY_S
        while True:
            answers = {name: self.get(name, "/readyz") for name in names}
            if all(answer.startswith("200") for answer in answers.values()):
                return
            if time.monotonic() > deadline:
                status = self._run(self.head, "cd embedder && .venv/bin/serve status", TOKEN)
                raise RuntimeError(f"not ready: {answers}\n{status}")
            time.sleep(POLL_S)

    def get(self, name: str, path: str) -> str:
        """Return status and body of the answer of a machine, or the problem."""
        url = f"http://{self.machines[name].address}:{PORT}{path}"
        try:
            answer = httpx.get(url, headers=dict(self.headers), timeout=10)
        except httpx.HTTPError as error:
            return f"none: {error!r}"
        return f"{answer.status_code} {answer.text}"

    def _service(self) -> str:
        """Return the text of serve_cluster.yaml with a key, as its operator edits it."""
        scopes = ["read", "write", "admin"]
        entry = {"name": "test", "sha256": digest(self.key.encode()), "scopes": scopes}
        text = (ROOT / "serve_cluster.yaml").read_text()
        assert text.count("keys: []") == 1
        return text.replace("keys: []", f"keys: [{json.dumps(entry)}]")

    def _run(self, machine: Machine, command: str, variables: Mapping[str, str]) -> str:
        # What an installation of the code would do.
        given = {"PYTHONPATH": str(machine.home / "embedder"), **variables}
        return machine.run(command, given)


TOKEN = {"RAY_AUTH_MODE": "token"}

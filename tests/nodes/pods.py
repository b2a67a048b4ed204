"""The pods of a RayService on machines, started and deployed to as KubeRay does it."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import httpx
import yaml

from deploy.kubernetes.manifests import SOURCES
from deploy.kubernetes.pods import KEYS_VARIABLE
from deploy.kubernetes.rayservice import rayservice
from deploy.kubernetes.sources import ROOT, read_cluster
from deployments.ingress.middleware.keys import digest, new_key
from tests.nodes.machines import Machine

HEAD = "head"
WORKERS = {"data": "data-worker", "cpu": "cpu-worker"}
"""The groups of workers by the names of the machines."""

RAY_NAMES = {"CPU": "num-cpus", "GPU": "num-gpus"}


class PodCluster:
    """Machines with the processes of the pods of the variant `cpu`, and their secrets."""

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.service = rayservice(read_cluster(*SOURCES["cpu"]))["spec"]
        self.key, self.token = new_key(), secrets.token_hex(32)
        cluster = self.service["rayClusterConfig"]
        groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
        self.groups: dict[str, Any] = {HEAD: cluster["headGroupSpec"]}
        self.groups |= {name: groups[group] for name, group in WORKERS.items()}
        entry = {"name": "test", "sha256": digest(self.key.encode()), "scopes": ["read", "write"]}
        for machine in machines:
            (machine.home / "keys.yaml").write_text(yaml.safe_dump([entry]))

    def container(self, name: str) -> dict[str, Any]:
        """Return the container of a pod."""
        found: dict[str, Any] = self.groups[name]["template"]["spec"]["containers"][0]
        return found

    def start(self, name: str) -> None:
        """Start the container of a pod, which writes into a log in its home folder.

        It starts again when it ends, as the kubelet does it.
        """
        arguments = " ".join(self.container(name)["args"])
        shell = f"{arguments} && ulimit -n 65536; {self._ray_start(name)}"
        loop = f"while true; do bash -c -- {shlex.quote(shell)}; sleep 1; done"
        self.run(name, f"nohup bash -c -- {shlex.quote(loop)} > pod.log 2>&1 < /dev/null &")

    def _ray_start(self, name: str) -> str:
        """Return the command of KubeRay's `generateRayStartCommand` for a pod."""
        group = self.groups[name]
        options = {**group["rayStartParams"], "metrics-export-port": "8080"}
        options |= {"dashboard-agent-listen-port": "52365"}
        custom = {}
        for resource, amount in group["resources"].items():
            if resource in RAY_NAMES:
                options[RAY_NAMES[resource]] = amount
            else:
                custom[resource] = float(amount)
        if custom:
            options["resources"] = f"'{json.dumps(custom)}'"
        if name == HEAD:
            options["dashboard-host"] = "0.0.0.0"
        else:
            options["address"] = self._address
        words = [f"--{option}={value}" for option, value in sorted(options.items())]
        flags = ["--head", "--no-monitor"] if name == HEAD else []
        return " ".join(["ray start", *flags, *words, "--block"])

    @property
    def _address(self) -> str:
        return f"{self.machines[HEAD].address}:6379"

    def run(self, name: str, command: str, *, timeout_s: float = 120) -> str:
        """Return what a command in a container prints."""
        machine = self.machines[name]
        variables = {
            # Of the image; its code is that of the checkout.
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(machine.home),
            # Of KubeRay.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ADDRESS": "127.0.0.1:6379" if name == HEAD else self._address,
            # Of the manifest, with another place of the secret.
            **{one["name"]: one["value"] for one in self.container(name)["env"]},
            KEYS_VARIABLE: str(machine.home / "keys.yaml"),
        }
        return machine.run(command, variables, timeout_s=timeout_s)

    def deploy(self, token: str) -> int:
        """Send the configuration to the dashboard, and return the status of the answer."""
        url = f"http://{self.machines[HEAD].address}:8265/api/serve/applications/"
        document = yaml.safe_load(self.service["serveConfigV2"])
        headers = {"x-ray-authorization": f"Bearer {token}"}
        return httpx.put(url, json=document, headers=headers, timeout=120).status_code

    def probe(self, name: str, kind: str) -> bool:
        """Return whether a probe of a pod succeeds, which the kubelet makes from outside."""
        probe = self.container(name)[kind]
        path, port = probe["httpGet"]["path"], probe["httpGet"]["port"]
        named: Mapping[str, int] = {
            one["name"]: one["containerPort"] for one in self.container(name)["ports"]
        }
        url = f"http://{self.machines[name].address}:{named.get(port, port)}{path}"
        try:
            return httpx.get(url, timeout=probe["timeoutSeconds"]).is_success
        except httpx.HTTPError:
            return False

    def stop(self, name: str) -> str:
        """Run what a container runs before it is ended, and return its output."""
        command = self.container(name)["lifecycle"]["preStop"]["exec"]["command"]
        seconds = self.groups[name]["template"]["spec"]["terminationGracePeriodSeconds"]
        return self.run(name, shlex.join(command), timeout_s=seconds)

    def embed(self, name: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        """Return the answer of a pod to a request for embeddings."""
        url = f"http://{self.machines[name].address}:8000/v1/embeddings"
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        return httpx.post(url, json=body, headers=headers, timeout=60)

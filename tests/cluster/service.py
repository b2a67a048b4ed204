"""A service under test: started and stopped by its own command line, with all its processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.ingress.middleware.keys import digest
from deployments.launch.exposure import with_port
from deployments.launch.services.choice import candidates, choose
from tests.cluster.cross_encoder import NAME as CROSS_ENCODER
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
READY_S = 240.0
BODY_GRACE_S = 3.0
"""Shorter than the default, so that the tests of slow bodies are fast, and longer than a proxy on a
busy machine holds a body back.
"""

CACHE_TIMEOUT_S = 5.0
"""Longer than the default, so that a lookup on a busy machine is not counted as a miss."""

STOP_S = 60.0


class RunningService:
    """`embedder serve` as a child process, with two encoders that do not scale.

    With a ``traces_port``, it sends the traces of requests that ask for one to a receiver there.
    """

    def __init__(
        self,
        folder: Path,
        key: str | None = None,
        *further_models: dict[str, object],
        host: str = "127.0.0.1",
        traces_port: int | None = None,
        **arguments: Any,
    ) -> None:
        self.folder = folder
        self.headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._log = folder / "serve.log"
        self.environment = _environment()
        self.first_request_s = float("inf")
        self.ready_line = ""
        self._started: dict[int, str] = {}
        self.port = free_port()
        self.url = f"http://{with_port(host, self.port)}"
        config = write_config(folder, *further_models, key=key, **arguments)
        if traces_port is not None:
            self.environment |= _send_traces(config, traces_port)
        command = [
            *(str(Path(sys.executable).with_name("embedder")), "serve", str(config)),
            *("--host", host, "--port", str(self.port)),
            *("--log", str(self._log), "--timeout", str(READY_S)),
        ]
        self._process = subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def wait(self) -> None:
        """Wait for the line that reports readiness; send the first request and time it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"not ready:\n{self._log.read_text()[-4000:]}")
        # Programs and commands of the tests connect to this service, even if others run here.
        self.environment["RAY_ADDRESS"] = str(choose(candidates(), {}, self.url).ray_address)
        began = time.monotonic()
        first = {"input": "the very first"}
        url = f"{self.url}/v1/embeddings"
        httpx.post(url, json=first, headers=self.headers).raise_for_status()
        self.first_request_s = time.monotonic() - began
        self.ready_line = line

    def deploy(self, config: Path) -> subprocess.Popen[bytes]:
        """Apply a changed configuration, as an operator does; it is applied after this ends."""
        # The last one: a service that was started again continues the log.
        dashboards = re.findall(r"dashboard at .*?(http://[\d.:]+)", self._log.read_text())
        assert dashboards, "Ray says where its dashboard listens"
        command = [str(Path(sys.executable).with_name("serve")), "deploy", str(config)]
        return subprocess.Popen([*command, "-a", dashboards[-1]], env=self.environment, cwd=ROOT)

    def replicas(self, deployment: str) -> list[int]:
        """Return the process ids of a deployment's replicas."""
        return self.titled(f"ray::ServeReplica:embedder:{deployment}")

    def titled(self, title: str) -> list[int]:
        """Return the processes with this title, or with this name of a program.

        While a process runs a method, Ray adds the method's name to the title.
        """
        return [pid for pid in self.processes() if _title(pid).split(".")[0] == title]

    def named(self, program: str) -> list[int]:
        """Return the process ids of a program."""
        return [
            pid
            for pid in self.processes()
            if Path(_command(pid).partition("\0")[0]).name == program
        ]

    def processes(self) -> list[int]:
        """Return every process below the command, however deep."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and (parent := _parent(int(path.name))) is not None:
                children.setdefault(parent, []).append(int(path.name))
        found = [self._process.pid]
        for pid in found:  # the loop appends to it
            found += children.get(pid, [])
        return found[1:]

    def kill(self) -> None:
        """Kill the command alone, with no time for anything."""
        self._started = {pid: _command(pid) for pid in self.processes()}
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill_child(self, process: int) -> int:
        """Kill a process without which the command ends, and return the command's exit status."""
        self._started = {pid: _command(pid) for pid in self.processes()}
        os.kill(process, signal.SIGKILL)
        return self._ended()

    def stop(self) -> int:
        """Press Ctrl-C, and return the command's exit status."""
        self._started = {pid: _command(pid) for pid in self.processes()}
        self._process.send_signal(signal.SIGINT)
        return self._ended()

    def _ended(self) -> int:
        status = self._process.wait(STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def remaining(self, patience_s: float = 10.0) -> list[str]:
        """Return the commands of processes that outlive the stop."""
        deadline = time.monotonic() + patience_s
        while True:
            alive = [
                command
                for pid, command in self._started.items()
                if command and _command(pid) == command
            ]
            if not alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.2)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        # Another service on this machine may use the default ports.
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        # Programs of the tests show the token, as the commands do by themselves.
        "RAY_AUTH_MODE": "token",
    }


def _send_traces(config: Path, port: int) -> dict[str, str]:
    """Turn traces on in a configuration, and return the variables that say where they go."""
    tracing = {"tracing_config": {"enabled": True, "sampling_ratio": 0.0}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **tracing}))
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


def write_config(
    folder: Path, *further_models: dict[str, object], key: str | None = None, **arguments: Any
) -> Path:
    """Write serve_config.yaml with two encoders, so that one can be lost, and further models.

    A cross-encoder that the folder has is one of them.
    With a ``key``, callers must have it, and it is good for everything. ``arguments`` are further
    entries of ``args:``; each pool of encoders among them has all models.
    """
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    application = document["applications"][0]
    application["args"]["encoder"] = {"replicas": 2}
    application["args"]["limits"] = {"body_grace_s": BODY_GRACE_S}
    application["args"]["cache"]["timeout_s"] = CACHE_TIMEOUT_S
    application["args"].update(arguments)
    application["args"]["data_directory"] = str(folder / "data")
    if key is not None:
        scopes = ["read", "write", "admin"]
        entry = {"name": "all", "sha256": digest(key.encode()), "scopes": scopes}
        application["args"]["keys"] = [entry]
    models = application["deployments"][0]["user_config"]["models"]
    pools = application["args"]["encoder"].get("pools", [])
    encoders = [f"Encoder-{pool['name']}" for pool in pools] or ["Encoder"]
    if (folder / CROSS_ENCODER).is_dir():
        models = [*models, {"name": str(folder / CROSS_ENCODER)}]
    application["deployments"] = [
        {"name": name, "user_config": {"models": [*models, *further_models]}}
        for name in ("Ingress", "Tokenizer", *encoders)
    ]
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _command(pid: int) -> str:
    """Return a process's command line; "" for one that has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").strip("\0")
    except OSError:
        return ""


def _title(pid: int) -> str:
    """Return the title that Ray gave a process, or the name of its program."""
    command = _command(pid).replace("\0", " ").strip()
    program = command.split(" ")[0]
    return program.rpartition("/")[2] if program.startswith("/") else command


def _parent(pid: int) -> int | None:
    try:
        # The name in brackets may hold any character; the parent is the second field after it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None

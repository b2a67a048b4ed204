"""Run the service on this machine: one child process with Ray in it, watched until it ends.

The child is `serve run`, the same command that an operator may type, with the environment that
Ray must have before it starts. Knows nothing of command lines.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import yaml

from deployments.preflight import check, load_applications, read_config
from embedder.errors import ConfigurationError

THROUGHPUT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}
"""What makes Serve answer six times the requests of its defaults; Ray reads it as it starts."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The service is on this machine: a proxy for the world outside has no part in it."""

INGRESS_PORTS = range(20_000, 32_000)
"""Where replicas of the ingress listen for HAProxy: below what the kernel hands to clients."""

BLOCK = 100
"""Ports that one service has for them."""

POLL_S = 0.25
WATCH_S = 5.0
STOP_S = 45.0


class Launch:
    """A service that is starting or running as a child process, with its output in ``log``."""

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, log: Path, *, has_keys: bool = False
    ) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.has_keys = has_keys

    def wait_until_ready(self, timeout_s: float, progress: Callable[[str], None]) -> None:
        """Wait for ``/readyz``, telling ``progress`` what is still missing.

        Raises:
            ConfigurationError: the service ended, or is not ready in time; the log says why.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ConfigurationError(f"the service ended while starting:\n{self.tail()}")
            missing = _missing(self.url)
            if missing is None:
                return
            progress(missing)
            time.sleep(POLL_S)
        raise ConfigurationError(f"not ready within {timeout_s:.0f} s:\n{self.tail()}")

    def watch(self, report: Callable[[str], None]) -> None:
        """Return when the service has ended; until then report every change of its readiness."""
        known: str | None = None
        while self.process.poll() is None:
            missing = _trouble(self.url)
            if missing != known and self.process.poll() is None:
                report(missing or "every stage answers again")
                known = missing
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_S)

    def stop(self) -> None:
        """Stop everything that was started: gracefully, or at once when interrupted again."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                self.process.wait(STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            # Ray gives each worker a process group of its own, but all share the child's session.
            for pid in _session(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the end of the child's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def launched(
    config: Path, *, port: int | None = None, tuned: bool = True, log: Path | None = None
) -> Iterator[Launch]:
    """Start the service of a Serve configuration, and stop it at the end.

    ``port`` takes the place of the configuration's. ``tuned`` sets `THROUGHPUT`.

    Raises:
        ConfigurationError: the configuration cannot work, as far as can be known before.
    """
    document = read_config(config, port=port)
    check(document)
    with tempfile.TemporaryDirectory(prefix="embedder-") as folder:
        directory = Path(folder)
        resolved = directory / "serve_config.yaml"
        resolved.write_text(yaml.safe_dump(document, sort_keys=False))
        log = log or directory / "serve.log"
        with _opened(log) as output:
            process = subprocess.Popen(  # noqa: S603 - nothing in it comes from a client
                [sys.executable, "-m", "ray.serve.scripts", "run", str(resolved)],
                env=_environment(directory, tuned),
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches this process, which passes it on once.
                start_new_session=True,
            )
        options = document["http_options"]
        url = f"http://{options['host']}:{options['port']}"
        keys = [loaded.settings.keys for _, loaded, _ in load_applications(document)]
        launch = Launch(process, url, log, has_keys=all(keys))
        try:
            yield launch
        finally:
            launch.stop()


def _environment(directory: Path, tuned: bool) -> Mapping[str, str]:
    """Return the child's environment; what the operator has set is left as it is."""
    ingress_ports = _free_block()
    defaults = {
        # HAProxy's files have fixed names otherwise, and two services would share them.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        # A replica that stops listens on for load balancers elsewhere to notice; here is none.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # Ports of several services may not mix: replicas share theirs with whoever listens there.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ingress_ports.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ingress_ports.stop),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port(9101)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port(8404)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
        **(THROUGHPUT if tuned else {}),
    }
    return {**defaults, **os.environ}


def _opened(log: Path) -> BinaryIO:
    try:
        return log.open("wb")
    except OSError as error:
        raise ConfigurationError(f"cannot write {log}: {error.strerror}") from error


def _free_port(preferred: int) -> int:
    """Return a port for one of HAProxy's own listeners: the usual one, or else any."""
    if _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _free_block() -> range:
    """Return a block of ports for ingress replicas on which nobody listens.

    Any of them: services that start together listen only later, and would all find the first.
    """
    starts = list(range(INGRESS_PORTS.start, INGRESS_PORTS.stop, BLOCK))
    random.shuffle(starts)
    for start in starts:
        block = range(start, start + BLOCK)
        if all(map(_is_free, block)):
            return block
    raise ConfigurationError(f"no {BLOCK} ports in a row are free in {INGRESS_PORTS}")


def _is_free(port: int) -> bool:
    # Without SO_REUSEPORT, so that a port of another service's replica counts as taken.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _session(leader: int) -> list[int]:
    """Return the processes of the session that ``leader`` began, itself left out."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold anything; the session is the fourth field after it.
            session = int(path.read_text().rpartition(")")[2].split()[3])
            if session == leader and int(path.parent.name) != leader:
                members.append(int(path.parent.name))
    return members


def _missing(url: str) -> str | None:
    """Return what the service still waits for, or None when it is ready."""
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=10):
            return None
    except urllib.error.HTTPError as error:
        unready = _unready(error.read())
        return "starting the ingress" if unready is None else f"waiting for {', '.join(unready)}"
    except (OSError, http.client.HTTPException):
        return "no answer yet"


def _trouble(url: str) -> str | None:
    """Return what a running service lacks, or None; what it can do without is told with that."""
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=10) as answer:
            unready = _unready(answer.read()) or {}
            return "; ".join(f"{name}: {state}" for name, state in unready.items()) or None
    except (OSError, http.client.HTTPException):
        return _missing(url)


def _unready(body: bytes) -> dict[str, str] | None:
    """Return the stages that are not ready, or None where the ingress has not said."""
    try:
        stages = json.loads(body)["stages"]
        return {name: state for name, state in stages.items() if state != "ready"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

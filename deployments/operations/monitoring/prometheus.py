"""Prometheus in a child process: its start, the nodes that it reads, and queries.

It listens on loopback, and reads the exporters of Ray that the session of a service lists.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from math import isnan
from pathlib import Path
from urllib.parse import urlencode

import yaml

from deployments.launch.ports import is_free, listener
from deployments.operations.monitoring.expressions import CONFIG_FILE, read_document
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError

DISCOVERY_FILE = "prom_metrics_service_discovery.json"
"""The file in the folder of a session in which Ray lists the exporters of all nodes."""

NODES_FILE, LOG_FILE = "nodes.json", "prometheus.log"

PREFIX = "embedder-monitor-"
"""Prefix of the names of temporary folders."""

HISTORY = ("--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=2GB")
READY_S = 60.0
STOP_S = 30.0
POLL_S = 0.1
QUERY_S = 30.0


class Prometheus:
    """A Prometheus on loopback, which this process started or not."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    @property
    def url(self) -> str:
        """Return the address of its pages."""
        return f"http://{self.address}"

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            return self._get("/-/ready")[0] == 200
        except (OSError, HTTPException):
            return False

    def query(self, expression: str) -> list[float]:
        """Return the present values of an expression, without those that are no number.

        Raises:
            ConfigurationError: Prometheus does not answer, or refuses the expression.
        """
        try:
            status, body = self._get(f"/api/v1/query?{urlencode({'query': expression})}")
            answer = json.loads(body)
            if status != 200:
                raise ConfigurationError(f"{self.url} refuses {expression!r}: {answer['error']}")
            result = answer["data"]["result"]
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"no Prometheus answers at {self.url} ({error!r}): start it with 'embedder "
                "monitor', or state its port by --prometheus-port"
            ) from None
        values = [float(series["value"][1]) for series in result]
        return [value for value in values if not isnan(value)]

    def _get(self, path: str) -> tuple[int, bytes]:
        with closing(HTTPConnection(self.address, timeout=QUERY_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()


class PrometheusProcess(Prometheus):
    """A Prometheus that this process started; ``folder`` has its configuration and its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        super().__init__(port)
        self.process = process
        self._folder = folder

    def set_nodes(self, session: Path) -> None:
        """Read the exporters that Ray's session lists now; without its file, those of before."""
        _write_nodes(self._folder, session)

    def tail(self, lines: int = 5) -> str:
        """Return the end of its log."""
        written = (self._folder / LOG_FILE).read_text(errors="replace")
        return "\n".join(written.splitlines()[-lines:])


@contextmanager
def started(
    files: Path, session: Path, port: int, history: Path | None = None
) -> Iterator[PrometheusProcess]:
    """Start Prometheus with the configuration and the rules in ``files``; stop it at the end.

    ``session`` is the folder of the session of the service's Ray. The history is kept in
    ``history``, by default in a temporary folder that is removed at the end.

    Raises:
        ConfigurationError: Prometheus is not installed or does not start, or its port is taken; or
            as `read_document`.
    """
    program = _program(port)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        command = [
            program,
            f"--config.file={_write_config(files, folder)}",
            f"--storage.tsdb.path={(history or folder / 'history').absolute()}",
            f"--web.listen-address=127.0.0.1:{port}",
            *HISTORY,
        ]
        _write_nodes(folder, session)
        with (folder / LOG_FILE).open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - nothing in it comes from a client
                command, stdout=output, stderr=subprocess.STDOUT, umask=0o077
            )
        try:
            running = PrometheusProcess(process, port, folder)
            _wait_until_ready(running)
            yield running
        finally:
            _stop(process)


def _program(port: int) -> str:
    """Return the path of Prometheus if it can be started on this port."""
    program = shutil.which("prometheus")
    if program is None:
        raise ConfigurationError(
            "Prometheus is not installed: 'apt-get install prometheus' on Debian and Ubuntu, or a "
            "program named prometheus on the PATH. The service runs without it"
        )
    if not is_free(port):
        raise ConfigurationError(
            f"port {port} is taken by {listener(port) or 'a process of another user'}: choose "
            "another one by --prometheus-port, or stop the Prometheus of the system ('systemctl "
            "stop prometheus')"
        )
    return program


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_config(files: Path, folder: Path) -> Path:
    """Write the configuration for the nodes of one service, and return its path."""
    document = read_document(files, CONFIG_FILE)
    document["rule_files"] = [str((files / name).absolute()) for name in document["rule_files"]]
    for job in document["scrape_configs"]:
        job["file_sd_configs"] = [{"files": [str(folder / NODES_FILE)]}]
    path = folder / CONFIG_FILE
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _write_nodes(folder: Path, session: Path) -> None:
    """Replace the list of exporters by that of a session, if this has one and it is another."""
    nodes, written = folder / NODES_FILE, folder / f"{NODES_FILE}.new"
    try:
        listed = (session / DISCOVERY_FILE).read_bytes()
    except OSError:
        return
    if not nodes.exists() or nodes.read_bytes() != listed:
        written.write_bytes(listed)
        written.rename(nodes)


def _wait_until_ready(running: PrometheusProcess) -> None:
    deadline = Deadline.after(READY_S)
    while not running.is_ready():
        if running.process.poll() is not None or deadline.expired:
            raise ConfigurationError(f"Prometheus does not start:\n{running.tail()}")
        time.sleep(POLL_S)

"""Prometheus beside a service: what it is started with, what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from deployments.operations.monitoring.prometheus import (
    DISCOVERY_FILE,
    Prometheus,
    started,
)
from embedder.core.errors import ConfigurationError

FILES = Path(__file__).parents[5] / "monitoring"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="the program prometheus is not installed"
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Return the folder of a session of Ray with one node, which does not run."""
    folder = tmp_path / "session"
    folder.mkdir()
    _list_nodes(folder, "127.0.0.1:1")
    return folder


def _list_nodes(session: Path, *addresses: str) -> None:
    listed = [{"labels": {"job": "ray"}, "targets": addresses}]
    (session / DISCOVERY_FILE).write_text(json.dumps(listed))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def answers() -> Iterator[tuple[Prometheus, dict[str, Any]]]:
    """Yield a Prometheus whose answer the test sets."""
    answer: dict[str, Any] = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer["body"]).encode()
            self.send_response(answer["status"])
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Prometheus(server.server_port), answer
        server.shutdown()
        thread.join()


def test_a_query_returns_the_values_that_are_numbers(
    answers: tuple[Prometheus, dict[str, Any]],
) -> None:
    prometheus, answer = answers
    series = [{"value": [0, value]} for value in ("1.5", "NaN", "0", "+Inf")]
    answer["body"] = {"status": "success", "data": {"result": series}}

    assert prometheus.query("up") == [1.5, 0.0, float("inf")]


def test_a_refused_query_is_named_with_the_reason(
    answers: tuple[Prometheus, dict[str, Any]],
) -> None:
    prometheus, answer = answers
    answer.update(status=400, body={"status": "error", "error": "parse error at char 3"})

    with pytest.raises(ConfigurationError, match="refuses 'up}': parse error at char 3"):
        prometheus.query("up}")


def test_another_program_at_the_port_is_no_prometheus(
    answers: tuple[Prometheus, dict[str, Any]],
) -> None:
    prometheus, answer = answers
    answer["body"] = ["something", "else"]

    with pytest.raises(ConfigurationError, match=r"no Prometheus answers at .*embedder monitor"):
        prometheus.query("up")


def test_a_query_without_prometheus_says_how_to_start_it() -> None:
    prometheus = Prometheus(_free_port())

    assert not prometheus.is_ready()
    with pytest.raises(ConfigurationError, match=r"no Prometheus answers at .*embedder monitor"):
        prometheus.query("up")


def test_a_missing_program_is_reported_with_its_package(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with (
        pytest.raises(ConfigurationError, match="apt-get install prometheus"),
        started(FILES, session, _free_port()),
    ):
        pass


def test_a_taken_port_is_reported_with_its_process(session: Path, program: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"port {port} is taken by process \d+"),
            started(FILES, session, port),
        ):
            pass


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a program named prometheus, first on the PATH, that prints its arguments and ends."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "prometheus"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:], sep='\\n')\nsys.exit(1)\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return path


@pytest.mark.usefixtures("program")
def test_a_program_that_ends_is_reported_with_its_log(session: Path, tmp_path: Path) -> None:
    port = _free_port()
    with (
        pytest.raises(ConfigurationError) as caught,
        started(FILES, session, port, tmp_path / "history"),
    ):
        pass

    message = str(caught.value)
    assert message.startswith("Prometheus does not start:\n")
    assert f"--web.listen-address=127.0.0.1:{port}" in message
    assert f"--storage.tsdb.path={tmp_path / 'history'}" in message


def test_a_folder_without_the_files_is_named(session: Path, program: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"prometheus.yml: No such file.*--files"),
        started(tmp_path, session, _free_port()),
    ):
        pass


@needs_prometheus
def test_prometheus_starts_with_the_nodes_of_the_session_and_follows_them(session: Path) -> None:
    with started(FILES, session, _free_port()) as prometheus:
        (folder,) = _folders(prometheus.process.args)
        config = yaml.safe_load((folder / "prometheus.yml").read_text())
        (nodes,) = config["scrape_configs"][0]["file_sd_configs"][0]["files"]
        assert prometheus.query("vector(1)") == [1.0]
        assert (folder.stat().st_mode & 0o077) == 0
        assert config["rule_files"] == [str(FILES / "alerts.yml")]

        _list_nodes(session, "127.0.0.1:1", "127.0.0.1:2")
        prometheus.set_nodes(session)
        assert json.loads(Path(nodes).read_text())[0]["targets"][1] == "127.0.0.1:2"
        # The file is missing while the service starts again.
        (session / DISCOVERY_FILE).unlink()
        prometheus.set_nodes(session)
        assert json.loads(Path(nodes).read_text())[0]["targets"][1] == "127.0.0.1:2"
    assert prometheus.process.returncode == 0
    assert not folder.exists()


def _folders(arguments: Any) -> list[Path]:
    flag = "--config.file="
    return [Path(word[len(flag) :]).parent for word in arguments if word.startswith(flag)]

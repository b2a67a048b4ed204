"""The status of services, with servers of the test as the service and as Ray's dashboard."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deployments.cli import main
from deployments.commands import status as command
from deployments.launch.preflight import IMPORT_PATH
from deployments.launch.services.choice import Candidate
from deployments.launch.services.description import ServiceDescription, write_description
from deployments.launch.services.instances import ServiceInstance
from deployments.launch.services.process_table import start_time
from deployments.operations.service_status import ORPHANED, statuses

TOKEN = "the-token-of-ray"
MODELS = {"models": [{"name": "all-MiniLM-L6-v2"}, {"name": "bge-small-en-v1.5", "alias": "small"}]}
STAGES = ("Ingress", "Tokenizer", "Encoder")


class Answers(BaseHTTPRequestHandler):
    """``/readyz`` of a service, and the applications of Ray's dashboard."""

    stages: dict[str, str]
    is_ready: bool

    def do_GET(self) -> None:
        body: dict[str, Any] = {"stages": self.stages, "capabilities": {}}
        status = 200 if self.is_ready else 503
        if self.path.startswith("/api/serve"):
            known = self.headers["authorization"] == f"Bearer {TOKEN}"
            stages = [{"name": name, "user_config": MODELS} for name in STAGES]
            application = {"import_path": IMPORT_PATH, "args": {}, "deployments": stages}
            body = {"applications": {"embedder": {"deployed_app_config": application}}}
            status = 200 if known else 401
            body = body if known else {}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of `Answers` for a service that is ready."""
    monkeypatch.setattr(Answers, "stages", {"cache": "ready", "index": "ready"}, raising=False)
    monkeypatch.setattr(Answers, "is_ready", True, raising=False)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def candidate(folder: Path, url: str, *, attended: bool = True) -> Candidate:
    """Return a service of this process whose routes and dashboard are at ``url``."""
    (folder / "token").write_text(f"{TOKEN}\n")
    started = start_time(os.getpid()) if attended else -1
    service = ServiceInstance(8000, "/data", os.getpid(), started or 0, str(folder), 20_000)
    described = ServiceDescription(
        url, "/c.yaml", "/here", "2026-01-01", str(folder / "token"), "1.2", url, "/tmp/logs"
    )
    write_description(folder, described)
    return Candidate("10.0.0.1:6379", service, url, "/here", str(service))


def test_a_service_is_listed_with_what_other_commands_need(tmp_path: Path, url: str) -> None:
    (status,) = statuses([candidate(tmp_path, url)], {})

    assert (status.address, status.ready, status.problem) == (url, True, None)
    assert status.models == ["all-MiniLM-L6-v2", "small"]
    assert (status.dashboard, status.token_file) == (url, str(tmp_path / "token"))
    assert (status.version, status.started_by) == ("1.2", os.getpid())
    assert status.ray_address == "10.0.0.1:6379"


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_stage_that_is_not_ready_is_named_also_if_no_caller_needs_it(
    is_ready: bool, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "stages", {"cache": "shard 0: no answer", "index": "ready"})
    monkeypatch.setattr(Answers, "is_ready", is_ready)
    (status,) = statuses([candidate(tmp_path, url)], {})

    assert status.ready is is_ready
    assert "cache" in str(status.problem)


def test_a_wrong_token_hides_the_models_alone(tmp_path: Path, url: str) -> None:
    found = candidate(tmp_path, url)
    (tmp_path / "token").write_text("another")
    (status,) = statuses([found], {})

    assert (status.ready, status.models) == (True, None)


def test_a_token_of_the_environment_is_used_if_the_service_has_no_file(
    tmp_path: Path, url: str
) -> None:
    found = candidate(tmp_path, url)
    write_description(tmp_path, ServiceDescription(url, dashboard=url))
    (status,) = statuses([found], {"RAY_AUTH_TOKEN": TOKEN})

    assert status.models == ["all-MiniLM-L6-v2", "small"]


def test_an_orphaned_service_is_not_ready(tmp_path: Path, url: str) -> None:
    (status,) = statuses([candidate(tmp_path, url, attended=False)], {})

    assert (status.ready, status.problem) == (False, ORPHANED)


def test_a_service_that_does_not_answer_is_listed(tmp_path: Path) -> None:
    (status,) = statuses([candidate(tmp_path, "http://127.0.0.1:9")], {})

    assert (status.ready, status.problem, status.models) == (False, "no answer yet", None)


def test_the_command_prints_every_service_and_exits_with_0(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [candidate(tmp_path, url), Candidate("10.0.0.1:1")]
    monkeypatch.setattr(command, "candidates", lambda: found)

    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{url}  ready\n  models         all-MiniLM-L6-v2, small\n")
    for name in ("version", "started", "data", "dashboard", "logs", "token file", "RAY_ADDRESS"):
        assert f"\n  {name}  " in text
    assert "Ray at 10.0.0.1:1: " in text
    assert main(["status", "--json", "--address", url]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["address"] == url
    assert listed["data_directory"] == "/data"


@pytest.mark.parametrize("ready", [None, False])
def test_the_exit_status_is_3_if_no_service_runs_or_one_is_not_ready(
    ready: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [] if ready is None else [candidate(tmp_path, "http://127.0.0.1:9")]
    monkeypatch.setattr(command, "candidates", lambda: found)

    assert main(["status"]) == 3
    assert ("no service runs here" in capsys.readouterr().out) == (ready is None)
    assert main(["status", "--json"]) == 3
    assert len(json.loads(capsys.readouterr().out)) == len(found)


def test_an_unknown_address_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "candidates", lambda: [Candidate("10.0.0.1:1")])

    assert main(["status", "--address", "127.0.0.1:9"]) == 1
    assert "--address 10.0.0.1:1" in capsys.readouterr().err

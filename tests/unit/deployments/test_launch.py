"""Starting the service as a child process, with children that are scripts of the test."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.launch import THROUGHPUT, Launch, _environment, _free_block, _free_port
from embedder.errors import ConfigurationError


def command(pid: int) -> str:
    """Return a process's command line; "" for one that has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def child(tmp_path: Path, script: str) -> Launch:
    """Return a launch of a Python script whose output is its log; its URL has no listener."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=output, stderr=output, start_new_session=True
        )
    return Launch(process, "http://127.0.0.1:9", log)


def test_a_child_that_ends_while_starting_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    launch = child(tmp_path, "print('no such model'); raise SystemExit(3)")

    with pytest.raises(ConfigurationError, match="no such model"):
        launch.wait_until_ready(20, lambda missing: None)


def test_progress_says_what_is_missing_until_the_time_is_up(tmp_path: Path) -> None:
    launch = child(tmp_path, "import time; time.sleep(60)")
    said: list[str] = []
    with pytest.raises(ConfigurationError, match="not ready within 0 s"):
        launch.wait_until_ready(0.3, said.append)
    launch.stop()

    assert set(said) == {"no answer yet"}


def test_a_child_is_stopped_as_by_ctrl_c(tmp_path: Path) -> None:
    script = """
import time
try:
    print("up", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("graceful", flush=True)
"""
    launch = child(tmp_path, script)
    deadline = time.monotonic() + 20
    while "up" not in launch.tail() and time.monotonic() < deadline:
        time.sleep(0.02)
    launch.stop()
    launch.stop()

    assert launch.tail().splitlines() == ["up", "graceful"]


def test_what_the_child_leaves_in_its_session_is_stopped_too(tmp_path: Path) -> None:
    """Ray's workers have process groups of their own, so the child's group is not enough."""
    script = """
import os, subprocess
print(subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp).pid, flush=True)
"""
    launch = child(tmp_path, script)
    launch.process.wait(20)
    grandchild = int(launch.tail())
    alive_before = command(grandchild)
    launch.stop()
    deadline = time.monotonic() + 5
    while command(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert "sleep" in alive_before
    assert command(grandchild) == ""


def test_watching_reports_changes_and_ends_with_the_service(tmp_path: Path) -> None:
    launch = child(tmp_path, "import time; time.sleep(1)")
    reports: list[str] = []
    launch.watch(reports.append)

    assert reports == ["no answer yet"]


def test_a_usual_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        preferred = taken.getsockname()[1]
        chosen = _free_port(preferred)

    assert chosen != preferred
    assert _free_port(preferred) == preferred


def test_throughput_mode_is_a_default_that_the_operator_may_set_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THROUGHPUT:
        monkeypatch.delenv(name, raising=False)
    tuned, plain = _environment(tmp_path, True), _environment(tmp_path, False)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    chosen = _environment(tmp_path, True)

    assert THROUGHPUT.items() <= tuned.items()
    assert not THROUGHPUT.keys() & plain.keys()
    assert chosen["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_replicas_of_two_services_never_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        # As Serve does it: whoever else sets this may listen on the same port.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr("deployments.launch.BLOCK", 1)
        monkeypatch.setattr("deployments.launch.INGRESS_PORTS", range(taken, taken + 1))

        with pytest.raises(ConfigurationError, match="ports in a row"):
            _free_block()

    assert _free_block() == range(taken, taken + 1)

"""Starting the service as a child process, with children that are scripts of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.services import canonicalize_bootstrap_address

from deployments.launch.child_process import serve_command
from deployments.launch.service_process import ServiceProcess
from deployments.launch.services.instances import MARK_VARIABLE, SESSION_FILE, ServiceInstance
from embedder.core.errors import ConfigurationError
from tests.unit.waiting import LONG_S, eventually


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Handle SIGINT as `embedder serve` does: a shell may have started the tests with it ignored.

    A child inherits an ignored signal, and the default for a handled one.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def command(pid: int) -> str:
    """Return a process's command line; "" for one that has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def child(tmp_path: Path, script: str) -> ServiceProcess:
    """Return a launch of a Python script whose output is its log; its URL has no listener."""
    log = tmp_path / "log"
    service = service_in(tmp_path)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, MARK_VARIABLE: service.mark},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    Path(service.folder, SESSION_FILE).write_text(str(process.pid))
    return ServiceProcess(process, service, "http://127.0.0.1:9", log)


def service_in(tmp_path: Path) -> ServiceInstance:
    """Return a service that this process has started."""
    folder = tmp_path / "service"
    folder.mkdir(exist_ok=True)
    return ServiceInstance(9, None, os.getpid(), 0, str(folder), 20_000)


def until_it_says(launch: ServiceProcess, word: str) -> None:
    """Wait until the child has printed a word."""
    assert eventually(lambda: word in launch.tail())


def test_a_child_that_ends_while_starting_is_an_error_with_its_last_output(tmp_path: Path) -> None:
    launch = child(tmp_path, "print('no such model'); raise SystemExit(3)")

    with pytest.raises(ConfigurationError, match="no such model"):
        launch.wait_until_ready(LONG_S, lambda missing: None)


def test_a_service_that_cannot_be_placed_is_refused_while_its_child_lives(tmp_path: Path) -> None:
    script = """
import time
from deployments.launch.services.instances import report_to_starter
print(report_to_starter("no node has that"), flush=True)
time.sleep(60)
"""
    launch = child(tmp_path, script)
    with pytest.raises(ConfigurationError, match="no node has that"):
        launch.wait_until_ready(LONG_S, lambda missing: None)
    launch.stop()

    assert launch.tail().splitlines()[0] == "True"


def test_progress_reports_what_is_missing_until_the_timeout(tmp_path: Path) -> None:
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
    until_it_says(launch, "up")
    launch.stop()
    launch.stop()

    assert launch.tail().splitlines() == ["up", "graceful"]


def test_a_second_ctrl_c_ends_a_child_that_is_still_stopping(tmp_path: Path) -> None:
    """Like `serve run`, which at the first Ctrl-C waits for a Ray that has ended."""
    script = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("stopping", flush=True))
print("up", flush=True)
while True:
    time.sleep(60)
"""
    launch = child(tmp_path, script)
    until_it_says(launch, "up")

    def press_again() -> None:
        until_it_says(launch, "stopping")
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press_again)
    pressing.start()
    launch.stop()
    pressing.join()

    assert launch.process.returncode == -signal.SIGKILL


def test_other_processes_of_the_childs_session_are_stopped_too(tmp_path: Path) -> None:
    """Ray's workers have process groups of their own, so the child's group is not enough."""
    script = """
import os, subprocess
print(subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp).pid, flush=True)
"""
    launch = child(tmp_path, script)
    launch.process.wait(LONG_S)
    grandchild = int(launch.tail())
    alive_before = command(grandchild)
    launch.stop()

    assert "sleep" in alive_before
    assert eventually(lambda: command(grandchild) == "")


def test_watching_reports_changes_and_ends_with_the_service(tmp_path: Path) -> None:
    launch = child(tmp_path, "import time; time.sleep(60)")
    reports: list[str] = []

    def report(said: str) -> None:
        reports.append(said)
        launch.process.kill()

    launch.watch(report)

    assert reports == ["no answer yet"]


def test_the_address_that_a_killed_ray_has_left_behind_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray_current_cluster").write_text("192.0.2.9:6379")
    command = serve_command(tmp_path / "serve_config.yaml")
    stated = command[command.index("--address") + 1] if "--address" in command else "auto"

    assert canonicalize_bootstrap_address(stated, str(tmp_path)) is None

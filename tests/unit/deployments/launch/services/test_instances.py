"""The services of this machine, with scripts of the test as their processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.cli import main
from deployments.launch.child_process import _watched
from deployments.launch.services import instances as module
from deployments.launch.services.announcement import announce
from deployments.launch.services.description import FILE, ServiceDescription
from deployments.launch.services.instances import (
    MARK_FILE,
    SESSION_FILE,
    ServiceInstance,
    end,
    remove_folders,
    services,
)
from deployments.launch.services.process_table import start_time
from tests.unit.waiting import LONG_S

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def no_other_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the other services of this machine."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "MARK_VARIABLE", "SERVED_BY_THIS_TEST")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def service(tmp_path: Path, port: int, *, attended: bool = True) -> ServiceInstance:
    """Return a service with a folder; unattended, its starter is a process that has ended."""
    folder = tmp_path / f"embedder-{port}"
    folder.mkdir()
    started = start_time(os.getpid()) if attended else -1
    one = ServiceInstance(port, f"/data/{port}", os.getpid(), started or 0, str(folder), 20_000)
    (folder / MARK_FILE).write_text(one.mark)
    return one


@contextmanager
def process(
    of: ServiceInstance | None, script: str = SLEEP, name: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a session of its own, marked as a process of a service."""
    mark = {} if of is None else {module.MARK_VARIABLE: of.mark}
    child = subprocess.Popen(
        [name or sys.executable, "-c", script],
        executable=sys.executable,
        env={**os.environ, **mark},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            yield child
        finally:
            child.kill()


def test_the_processes_of_a_service_are_ended_and_those_of_others_are_not(tmp_path: Path) -> None:
    ours, other = service(tmp_path, 1), service(tmp_path, 2)
    with process(ours) as mine, process(other) as theirs, process(None) as foreign:
        before = ours.processes()
        remaining = end(ours)
        mine.wait(LONG_S)

        assert before == [mine.pid]
        assert remaining == []
        assert theirs.poll() is None
        assert foreign.poll() is None
        assert not Path(ours.folder).exists()
        assert Path(other.folder).exists()


@pytest.mark.parametrize("title", ["ray::DashboardAgent", "ray-dashboard-JobHead-0"])
def test_a_process_of_ray_without_an_environment_is_found_by_its_session(
    title: str, tmp_path: Path
) -> None:
    """Some write their titles over their environment."""
    ours = service(tmp_path, 1)
    with process(None, name=title) as agent, process(None) as foreign:
        Path(ours.folder, SESSION_FILE).write_text(str(agent.pid))

        assert ours.processes() == [agent.pid]
        Path(ours.folder, SESSION_FILE).write_text(str(foreign.pid))
        assert ours.processes() == []


def test_a_service_is_found_after_its_folder_is_removed(tmp_path: Path) -> None:
    """Systems empty their temporary folders."""
    ours = service(tmp_path, 1)
    with process(ours):
        Path(ours.folder, MARK_FILE).unlink()

        assert ours in services()


def test_the_folder_of_another_service_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    ours = ServiceInstance(1, None, os.getpid(), -1, str(precious), 20_000)
    end(ours)

    assert precious.exists()


def test_folders_of_services_without_processes_are_removed(tmp_path: Path) -> None:
    left, running = service(tmp_path, 1, attended=False), service(tmp_path, 2)
    remove_folders()

    assert not Path(left.folder).exists()
    assert Path(running.folder).exists()


def test_the_watcher_ends_the_service_when_its_starter_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the command runs in another process
    ours = service(tmp_path, 1)
    with process(ours) as child:
        with _watched(ours):
            assert child.poll() is None

        assert child.wait(LONG_S) == -signal.SIGKILL
    assert not Path(ours.folder).exists()


def test_stop_ends_an_orphaned_service_and_describes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = service(tmp_path, 1, attended=False)
    with process(left) as child:
        described = str(left)
        assert main(["stop"]) == 0
        child.wait(LONG_S)

    assert "left behind" in described
    assert f"processes {child.pid}" in described
    assert capsys.readouterr().out == f"ended: {described}\n"
    assert services() == []


def test_stop_lets_an_attended_service_stop_by_itself(tmp_path: Path) -> None:
    starter = """
import signal, sys
def stop(*_):
    print("gracefully", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
signal.pause()
"""
    with process(None, starter) as child:
        folder = tmp_path / "embedder-1"
        folder.mkdir()
        ours = ServiceInstance(1, None, child.pid, start_time(child.pid) or 0, str(folder), 20_000)
        (folder / MARK_FILE).write_text(ours.mark)

        assert main(["stop", "--address", "http://127.0.0.1:1"]) == 0
        assert child.stdout is not None
        assert child.stdout.read() == "gracefully\n"


def test_stop_without_a_service_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop"]) == 1
    assert "start it with 'embedder serve'" in capsys.readouterr().err


def test_an_invalid_mark_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "embedder-x"
    folder.mkdir()
    for mark in ("", "[]", "{", '{"port": 1}'):
        (folder / MARK_FILE).write_text(mark)
        assert module.services() == []


def test_other_processes_may_have_any_bytes_in_their_name_and_arguments(tmp_path: Path) -> None:
    one = service(tmp_path, 1)
    script = "open('/proc/self/comm', 'wb').write(b'\\xff\\xc3'); " + SLEEP
    with process(None, script, name="\udcff"), process(one) as ours:
        assert one.processes() == [ours.pid]


def test_stop_refuses_the_ray_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = service(tmp_path, 1)
    monkeypatch.setenv("RAY_ADDRESS", "10.9.9.9:6379")

    assert main(["stop"]) == 1
    assert "RAY_ADDRESS is 10.9.9.9:6379" in capsys.readouterr().err
    assert one in services()


def test_a_service_is_described_as_it_was_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "token")
    config, block = Path("config.yaml"), range(20_000, 20_200)
    one = announce(8000, None, block, "http://[::1]:8000", config)

    assert services() == [one]
    described = one.description
    assert str(one).startswith("http://[::1]:8000, data in memory, started by process")
    assert str(one).endswith(f" in {tmp_path}")
    assert described.config == str(tmp_path / "config.yaml")
    assert described.token_file == str(tmp_path / "token")
    assert described.dashboard is None
    assert described.version
    assert Path(one.folder).stat().st_mode & 0o077 == 0
    shutil.rmtree(one.folder)
    assert one.description.url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"folder": 1}', "\udcff"])
def test_an_invalid_description_counts_as_missing(content: str, tmp_path: Path) -> None:
    """Another version may write other fields."""
    one = service(tmp_path, 1)
    Path(one.folder, FILE).write_text(content, errors="surrogateescape")

    assert one.description == ServiceDescription("http://127.0.0.1:1")

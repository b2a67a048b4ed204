"""Where Ray's dashboard and logs are, as a service describes it once it is ready."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.launch.services import instances
from deployments.launch.services.announcement import describe_ray
from deployments.launch.services.instances import ServiceInstance
from deployments.launch.services.process_table import Process, start_time


def _service(folder: Path, port: int) -> ServiceInstance:
    folder.mkdir()
    return ServiceInstance(port, None, os.getpid(), start_time(os.getpid()) or 0, str(folder), 1)


def _raylet(process: int, owner: ServiceInstance | None) -> Process:
    words = ["/ray/raylet", f"--gcs-address=127.0.0.1:{process}", f"--session_dir=/ray/s_{process}"]
    mark = None if owner is None else owner.mark
    return Process(process, process, mark, [word.encode() for word in words])


def test_ray_is_described_by_its_last_start_and_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own, other = _service(tmp_path / "own", 1), _service(tmp_path / "other", 2)
    processes = [_raylet(3, None), _raylet(4, other), Process(5, 5, own.mark, [b"python"])]
    monkeypatch.setattr(instances, "user_processes", lambda _: [*processes, _raylet(6, own)])
    lines = [f"View the dashboard at \x1b[1mhttp://127.0.0.1:{port} \x1b[39m" for port in (1, 2)]
    describe_ray(own, "\n".join(lines))
    described = own.description
    monkeypatch.setattr(instances, "user_processes", lambda _: processes)
    describe_ray(own, "")

    assert (described.dashboard, described.logs) == ("http://127.0.0.1:2", "/ray/s_6/logs/serve")
    assert (own.description.dashboard, own.description.logs) == (None, None)

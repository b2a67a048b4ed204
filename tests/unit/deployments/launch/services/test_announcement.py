"""Where Ray's dashboard and logs are, as a service describes it once it is ready."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.launch.services.announcement import describe_ray
from deployments.launch.services.instances import ServiceInstance


def test_the_files_of_ray_are_described_by_its_last_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    service = ServiceInstance(1, None, os.getpid(), 0, str(folder), 20_000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    logs = [tmp_path / "ray" / f"session_2026_{pid}" / "logs" / "serve" for pid in (123, 1234)]
    for one in logs:
        one.mkdir(parents=True)
    lines = [f"View the dashboard at \x1b[1mhttp://127.0.0.1:{port} \x1b[39m" for port in (1, 2)]
    describe_ray(service, "\n".join(lines), 123)
    described = service.description
    describe_ray(service, "", 5)

    assert (described.dashboard, described.logs) == ("http://127.0.0.1:2", str(logs[0]))
    assert (service.description.dashboard, service.description.logs) == (None, None)

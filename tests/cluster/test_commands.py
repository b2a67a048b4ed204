"""Commands that connect to the running service: their output, and the service that they choose."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import yaml

from tests.cluster.service import ROOT, RunningService, write_config


def _run(service: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("embedder")), *arguments]
    # Like an operator's shell, without variables of Ray.
    environment = {
        name: value for name, value in service.environment.items() if not name.startswith("RAY_")
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_command_prints_its_answer_and_nothing_else(service: RunningService) -> None:
    for arguments in (["cache", "stats"], ["index", "list"]):
        done = _run(service, *arguments, "--address", service.url)

        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.split()[0] in ("cache", "collection")


def test_status_lists_the_service_with_what_other_commands_need(
    service: RunningService,
) -> None:
    done = _run(service, "status", "--json", "--address", str(service.port))
    (listed,) = json.loads(done.stdout)
    shown = _run(service, "status", "--started-in", str(ROOT), "--address", service.url)

    assert (done.returncode, shown.returncode) == (0, 0), done.stderr + shown.stderr
    assert shown.stdout.startswith(f"{service.url}  ready\n")
    assert listed["models"] == ["all-MiniLM-L6-v2", "cross-encoder"]
    assert listed["ray_address"] == service.environment["RAY_ADDRESS"]
    assert listed["data_directory"] == str(service.folder / "data")
    assert listed["config"] == str(service.folder / "serve_config.yaml")
    assert set(listed["processes"]) <= set(service.processes())
    token = Path(listed["token_file"]).read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{listed['dashboard']}/api/version", headers=headers).status_code == 200
    assert httpx.get(f"{listed['dashboard']}/api/version").status_code == 401


def test_an_unknown_service_is_refused_with_a_list_of_the_running_ones(
    service: RunningService,
) -> None:
    done = _run(service, "cache", "clear", "--address", "9")

    assert done.returncode == 1
    assert f"--address {service.url}  (data in {service.folder / 'data'}" in done.stderr


def test_rays_address_alone_chooses_a_service(service: RunningService) -> None:
    command = [str(Path(sys.executable).with_name("embedder")), "cache", "stats"]
    environment = {
        name: value for name, value in service.environment.items() if name != "RAY_AUTH_MODE"
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert "RAY_ADDRESS" in environment
    assert done.returncode == 0, done.stderr


def test_deploy_applies_valid_changes_and_refuses_invalid_ones(
    service: RunningService, tmp_path: Path
) -> None:
    before = httpx.get(f"{service.url}/v1/models").json()
    unplaced = yaml.safe_load(write_config(service.folder).read_text())
    unplaced["applications"][0]["args"]["vector_index"] = {"resources": {"fast_disk": 1}}
    (tmp_path / "unplaced.yaml").write_text(yaml.safe_dump(unplaced))
    missing = write_config(service.folder, {"name": str(tmp_path / "missing")})
    invalid = [
        ("deploy", str(tmp_path / "unplaced.yaml"), "--address", service.url),
        ("deploy", str(missing), "--address", service.url),
        ("config", str(missing)),
    ]
    with ThreadPoolExecutor(len(invalid)) as threads:
        failed, refused, shown = threads.map(lambda command: _run(service, *command), invalid)
    good = write_config(service.folder)
    applied = _run(service, "deploy", str(good), "--address", service.url)

    assert failed.returncode == 1
    assert "takes 0.1 CPU 1 fast_disk; no node has that" in failed.stderr
    assert (refused.returncode, shown.returncode) == (1, 1)
    assert str(tmp_path / "missing") in refused.stderr
    assert str(tmp_path / "missing") in shown.stderr
    assert "Traceback" not in refused.stderr
    assert (applied.returncode, applied.stderr) == (0, "")
    assert httpx.get(f"{service.url}/v1/models").json() == before

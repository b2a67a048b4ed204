"""The runbook against the running service: its commands succeed, in the order of the pages.

A block that needs Kubernetes, Docker, systemd, the internet or minutes is marked as not run.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.cluster.forked_commands import ForkedCommands
from tests.cluster.service import ROOT, RunningService, write_config
from tests.cluster.test_readme import ADDRESS
from tests.readme import runnable
from tests.unit.deployments.operations.stopped_index import StoppedIndex
from tests.unit.planning.calibrations import ON_CPUS

PAGES = ("operations.md", "failures.md", "alerts.md")
COLLECTION = "docs"


@pytest.fixture
def folder(service: RunningService, tmp_path: Path) -> Path:
    """Return a working folder with the files that the pages name, beside a collection ``docs``."""
    ON_CPUS.save(tmp_path / "calibration.yaml")
    (tmp_path / "texts.txt").write_text("hello world\ngood night\n")
    StoppedIndex(tmp_path, 1)
    # Not that of the stopped index: the configuration that the service has.
    (tmp_path / "serve_config.yaml").write_bytes(write_config(service.folder).read_bytes())
    points = {"points": [{"id": "greeting", "text": "hello world"}]}
    path = f"{service.url}/v1/collections/{COLLECTION}/points"
    httpx.post(path, json=points, timeout=60).raise_for_status()
    return tmp_path


def test_every_command_of_the_runbook_succeeds(
    service: RunningService, commands: ForkedCommands, folder: Path
) -> None:
    places = {
        ADDRESS: service.url,
        "/srv/embedder/data": str(folder / "data"),
        "/srv/larger": str(folder / "larger"),
        "/backup/": f"{folder}/backups/",
    }
    (folder / "backups").mkdir()
    found = [one for page in PAGES for one in runnable((ROOT / "docs" / page).read_text())]
    # A command that the pages repeat, like the list of collections, runs once.
    lines = list(dict.fromkeys(command.line for command in found))
    for line in lines:
        for place, own in places.items():
            line = line.replace(place, own)
        program, *arguments = shlex.split(line)
        if program == "embedder":
            commands.run(*arguments, folder=folder)
        else:
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=folder)
            assert done.returncode == 0, (line, done.stderr)
            assert json.loads(done.stdout), line
    commands.run("index", "delete", COLLECTION, "--yes")

    assert len(lines) >= 20

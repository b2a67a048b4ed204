"""Commands beside two services of a machine: each does nothing until one is chosen.

Takes a minute: ``TEST_SERVICES=1`` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.service import ROOT
from tests.cluster.service_pair import TAKES_MINUTES, Pair, command
from tests.readme import blocks

pytestmark = TAKES_MINUTES


@pytest.mark.parametrize(
    "arguments", [["cache", "clear"], ["index", "delete", "open", "--yes"], ["deploy"], ["stop"]]
)
def test_a_command_does_nothing_until_a_service_is_chosen(pair: Pair, arguments: list[str]) -> None:
    done = command(*arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    for service in pair:
        assert f"--address {service.url}  (data in {service.folder}" in done.stderr


def test_a_command_reaches_the_chosen_service(pair: Pair) -> None:
    for service, name in zip(pair, ("open", "keyed"), strict=True):
        by_url = command("index", "list", "--address", service.url)
        by_ray = command("index", "list", "--address", service.environment["RAY_ADDRESS"])

        assert by_url.stdout.splitlines()[1].startswith(name), by_url.stderr
        assert by_ray.stdout == by_url.stdout


def test_rays_variable_chooses_a_service_for_commands_and_for_the_programs_of_the_readme(
    pair: Pair,
) -> None:
    (block,) = [block for block in blocks("python") if "get_app_handle" in block]
    reached = f"{block}\nprint(ray.get_runtime_context().gcs_address)"
    for service, name in zip(pair, ("open", "keyed"), strict=True):
        address = service.environment["RAY_ADDRESS"]
        variables = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"}
        listed = command("index", "list", **variables)
        program = [sys.executable, "-c", reached]
        done = subprocess.run(
            program, env={**os.environ, **variables}, capture_output=True, text=True
        )

        assert listed.stdout.splitlines()[1].startswith(name), listed.stderr
        assert done.stdout.splitlines()[-2:] == ["(1, 384)", address], done.stderr


def test_status_lists_both_with_their_own_dashboards(pair: Pair) -> None:
    listed = json.loads(command("status", "--json").stdout)
    ours = {one["address"]: one for one in listed if one["address"] in [of.url for of in pair]}

    assert len(ours) == 2
    assert all(one["ready"] and one["models"] == ["all-MiniLM-L6-v2"] for one in ours.values())
    assert len({one["dashboard"] for one in ours.values()}) == 2


def test_make_deploy_addresses_the_service_that_was_started_in_the_same_folder(
    pair: Pair, tmp_path: Path
) -> None:
    """Both were started in this checkout, and none in the other folder."""
    config = str(pair[0].folder / "serve_config.yaml")
    of_both = _make_deploy(ROOT, f"CONFIG={config}")
    chosen = _make_deploy(ROOT, f"CONFIG={config}", f"PORT={pair[0].port}")
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    elsewhere = _make_deploy(tmp_path, f"CONFIG={config}")

    assert "several services that were started in" in of_both.stderr
    assert (chosen.returncode, chosen.stderr) == (0, "")
    assert f"no service that was started in {tmp_path}" in elsewhere.stderr


def _make_deploy(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make deploy` in a folder with the programs of this environment, without installing."""
    programs = Path(sys.executable).parent
    command = ["make", "--silent", "--old-file=install", f"BIN={programs}", "deploy", *variables]
    hidden = ("PORT", "CONFIG", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and name[:4] != "RAY_"
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

"""The commands that the targets of the Makefile run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployments.cli import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ([], "embedder deploy serve_config.yaml --started-in ."),
        (["PORT=9000"], "embedder deploy serve_config.yaml --started-in . --address 9000"),
    ],
)
def test_deploy_chooses_the_service_of_this_checkout(arguments: list[str], ends: str) -> None:
    assert _commands("deploy", *arguments).endswith(ends)


def test_a_cluster_is_started_only_for_a_configuration_that_is_accepted() -> None:
    """Which has keys, as shipped it has none."""
    lines = _commands("cluster").splitlines()
    checks = next(at for at, line in enumerate(lines) if "embedder config serve_cluster" in line)
    starts = next(at for at, line in enumerate(lines) if "ray up" in line)

    assert checks < starts
    assert main(["config", str(ROOT / "serve_cluster.yaml")]) == 1


def test_a_cluster_may_have_files_of_its_own() -> None:
    chosen = _commands("cluster", "CLUSTER=a.yaml", "SERVED=b.yaml")

    for command in ("embedder config b.yaml", "ray up --yes a.yaml", "serve deploy b.yaml"):
        assert command in chosen


def _commands(*arguments: str) -> str:
    """Return what make would run for a target."""
    # Variables that `make test` sets for its own child processes must not reach this make.
    hidden = ("PORT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    return done.stdout.strip()

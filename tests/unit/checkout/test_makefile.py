"""The commands that the targets of the Makefile run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ([], "embedder deploy serve_config.yaml"),
        (["PORT=9000"], "embedder deploy serve_config.yaml --port 9000"),
    ],
)
def test_deploy_passes_the_port_on(arguments: list[str], ends: str) -> None:
    # Variables that `make test` sets for its own child processes must not reach this make.
    hidden = ("PORT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        ["make", "--dry-run", "deploy", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip().endswith(ends)

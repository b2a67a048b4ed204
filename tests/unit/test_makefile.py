"""What the targets of the Makefile run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ([], "embedder deploy serve_config.yaml"),
        (["PORT=9000"], "embedder deploy serve_config.yaml --port 9000"),
    ],
)
def test_deploy_goes_to_the_service_on_the_port_that_is_said(
    arguments: list[str], ends: str
) -> None:
    # What `make test` tells the make programs below it is not meant for this one.
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

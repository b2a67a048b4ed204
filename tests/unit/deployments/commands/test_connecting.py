"""The connection of a command to a service never starts a Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
from deployments.commands.connecting import connected_to
from deployments.launch.services.choice import Candidate
from embedder.core.errors import ConfigurationError

try:
    with connected_to(Candidate(None)):
        pass
except ConfigurationError:
    pass
import ray
ray.put("what a thread of Serve asks after the command has let go of Ray")
"""


def test_a_command_never_starts_ray(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "RAY_ADDRESS": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "Ray has not been started yet" in done.stderr

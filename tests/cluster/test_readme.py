"""README.md against the running service: every command has the printed answer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cluster.service import RunningService
from tests.readme import blocks, commands, decimals, shape

ADDRESS = "http://127.0.0.1:8000"


def test_every_curl_answers_as_shown(service: RunningService) -> None:
    """In order, because a search finds the points that the command before it has stored."""
    curls = [command for command in commands() if command.line.startswith("curl ")]
    for curl in curls:
        line = curl.line.replace(ADDRESS, service.url)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)

        assert shape(done.stdout) == shape(curl.answer), curl.line
        # A processor without bfloat16 computes in float32, which changes the digits.
        assert decimals(done.stdout) == pytest.approx(decimals(curl.answer), abs=5e-3)
    assert len(curls) >= 3


def test_make_serve_prints_the_line_that_is_shown(service: RunningService) -> None:
    (served,) = [command for command in commands() if command.line == "make serve"]
    before, _, after = served.answer.partition("(ready in")

    assert service.ready_line.startswith(before.replace(ADDRESS, service.url))
    assert service.ready_line.strip().endswith(after.partition("s")[2])


def test_the_block_for_the_handle_prints_what_it_says(service: RunningService) -> None:
    (block,) = [block for block in blocks("python") if "get_app_handle" in block]
    done = subprocess.run(
        [sys.executable, "-c", block], env=service.environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == block.rpartition("# ")[2].strip()

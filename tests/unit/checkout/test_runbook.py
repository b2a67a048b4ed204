"""The parts of the runbook that no test runs: marked blocks and the unit of systemd."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deployments.cli import main
from tests.readme import Command, fenced, runnable

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "operations.md").read_text()
NEEDED = {"kubectl", "docker", "systemctl", "journalctl", "git", "make"}
"""Programs whose commands change this machine, or that it may lack."""

ENDING = ("serve", "stop")
"""Commands that a test cannot run on a service that other tests use."""


@pytest.mark.parametrize("name", ["operations.md", "failures.md", "alerts.md"])
def test_a_command_that_no_test_can_run_is_marked(name: str) -> None:
    for command in runnable((DOCS / name).read_text()):
        program, _, arguments = command.line.partition(" ")
        assert program not in NEEDED, command.line
        assert not (program == "embedder" and arguments.startswith(ENDING)), command.line


def test_a_marked_block_is_left_out_and_others_are_not() -> None:
    block = "```console\n$ one\nits answer\n$ two\n```\n"
    marked = f"<!-- not run: takes minutes -->\n{block}"

    found = [Command("one", "its answer"), Command("two", "")]
    assert runnable(f"{marked}\n{block}\ntext\n\n{marked}\n") == found
    assert runnable(f"<!-- a comment -->\n{block}") == runnable(block)


def test_the_unit_of_systemd_starts_a_command_that_exists(tmp_path: Path) -> None:
    (text,) = fenced(PAGE, "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    program, *arguments = unit["Service"]["ExecStart"].split()

    assert program == f"{unit['Service']['WorkingDirectory']}/.venv/bin/embedder"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    (text,) = fenced(PAGE, "ini")
    # The program and the user of the page are not on this machine.
    here = re.sub("ExecStart=.*", "ExecStart=/bin/true", text).replace("User=embedder\n", "")
    (tmp_path / "embedder.service").write_text(here)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "embedder.service")],
        capture_output=True,
        text=True,
    )

    assert "embedder.service" not in checked.stderr, checked.stderr

"""The programs of docs/clients.md, and a run of one in the environment of `make clients`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cluster.service import ROOT
from tests.readme import fenced

PAGE = (ROOT / "docs" / "clients.md").read_text()
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
ADDRESS = "http://127.0.0.1:8000"
CLASSES = "huggingface_hub, classes"
GUARD = """
import sys

def guard(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", None):
        print("ELSEWHERE", arguments[0], file=sys.stderr)
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if arguments[1][0] != "127.0.0.1":
            print("ELSEWHERE", arguments[1], file=sys.stderr)

sys.addaudithook(guard)
"""
"""Runs before each program, and reports every other machine that the program looks up."""


def _programs() -> dict[str, str]:
    """Return the Python program under each heading of the page."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if blocks := fenced(text, "py"):
            (found[heading],) = blocks
    return found


PROGRAMS = _programs()
SHORT = ("openai", "huggingface_hub", "cohere", "cohere, rerank", CLASSES)
"""The programs of a short run: one for each API. ``TEST_CLIENTS=1`` runs all (`make clients`)."""
SCORING = [name for name in PROGRAMS if name.endswith("rerank") or name == CLASSES]
"""The programs that print scores; the others print vectors."""


def chosen(names: Iterable[str]) -> list[str]:
    """Return those of the programs that this run has."""
    return [name for name in names if "TEST_CLIENTS" in os.environ or name in SHORT]


PYTHON_ROWS = re.compile(r"^\| (?!client |curl |Java |openai for Node )([\w-]+) \|", re.MULTILINE)
"""The rows of the page's table, of which each has a program in Python."""

needs_clients = pytest.mark.skipif(
    not PYTHON.exists(), reason="the clients have an environment of their own: `make clients`"
)


def printed_by(program: str, folder: Path, *arguments: str) -> str:
    """Run a program that talks to the service alone, and return what it prints."""
    script = folder / "program.py"
    script.write_text(GUARD + program)
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [str(PYTHON), str(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "ELSEWHERE" not in done.stderr, done.stderr
    return done.stdout

"""The service's handle in every kind of program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.service import RunningService

FORMS = (
    "driver",
    "task",
    "actor",
    "asynchronous actor",
    "application",
    "thread of an application",
    "job",
)


@pytest.fixture(scope="module")
def answers(service: RunningService) -> dict[str, object]:
    """Return the answer to each form of a program."""
    script = Path(__file__).with_name("handle_programs.py")
    done = subprocess.run(
        [sys.executable, script], env=service.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_program_of_this_form_embeds_by_the_handle(answers: dict[str, object], form: str) -> None:
    assert answers[form] == [1, 384]

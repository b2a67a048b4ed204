"""A fail point performs its action at its turn, and does nothing when it is not armed."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedder.index
from embedder.index.storage import failpoints
from embedder.index.storage.failpoints import POINTS, VARIABLE, reach
from tests.unit.index.faults.crash_processes import ROOT


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_an_armed_point_fails_once_at_its_turn() -> None:
    failpoints.arm("commit.before:enospc@2")
    reach("commit.before")
    reach("commit.after")
    with pytest.raises(OSError, match=r"commit\.before") as caught:
        reach("commit.before")
    reach("commit.before")

    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("text", ["nowhere:kill", "commit.before", "commit.before:explode"])
def test_an_unknown_point_or_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no such point or action"):
        failpoints.arm(text)


def test_the_environment_arms_a_process() -> None:
    code = "from embedder.index.storage.failpoints import reach; reach('apply.after')"
    armed = {VARIABLE: "apply.after:kill"}
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=armed)

    assert child.returncode == -9


@pytest.mark.parametrize("other", ["postgres", "sqlite"])
def test_each_listed_point_occurs_exactly_once_in_the_code_with_one_store(other: str) -> None:
    names = [
        node.args[0].value
        for path in Path(embedder.index.__path__[0]).rglob("*.py")
        if other not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reach"
        and isinstance(node.args[0], ast.Constant)
    ]
    only_files = {"recovery.after_open", "close.before_clean"} if other == "sqlite" else set()

    assert sorted(str(name) for name in names) == sorted({*POINTS} - only_files)

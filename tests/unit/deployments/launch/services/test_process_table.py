"""The processes of this user, with programs of the test among them."""

from __future__ import annotations

import os
import subprocess

import pytest

from deployments.launch.services.process_table import user_processes

VARIABLE = "MARKED_BY_THIS_TEST"
OTHER_USER = 65534


@pytest.mark.parametrize(
    "user",
    [
        os.getuid(),
        pytest.param(
            OTHER_USER,
            marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can start it"),
        ),
    ],
)
def test_a_process_is_listed_for_its_own_user_alone(user: int) -> None:
    """Root could read the variables of others, which may name any folder, file and address."""
    with subprocess.Popen(["sleep", "60"], env={VARIABLE: "x"}, user=user, cwd="/") as child:
        try:
            marks = {process.id: process.mark for process in user_processes(VARIABLE)}
        finally:
            child.kill()

    assert marks.get(child.pid) == ("x" if user == os.getuid() else None)

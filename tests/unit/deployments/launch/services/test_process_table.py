"""What the arguments of a process say, with a script of the test as the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deployments.launch.services.instances import session_folder

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def test_the_session_of_a_ray_is_found_by_its_address() -> None:
    flags = ["--gcs-address=127.0.0.1:7", "--session_dir=/tmp/ray/session_a"]
    child = subprocess.Popen(
        ["/opt/ray/raylet", "-c", SLEEP, *flags],
        executable=sys.executable,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            assert session_folder("127.0.0.1:7") == Path("/tmp/ray/session_a")
            assert session_folder("127.0.0.1:8") is None
        finally:
            child.kill()

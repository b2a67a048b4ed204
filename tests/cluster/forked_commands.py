"""Runs commands of ``embedder``, each in a process that is forked from one with all imports.

As a program it reads the arguments and the working folder of a command from a line of JSON, and
writes its status and output as another line. The imports of a command take longer than its work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from deployments import cli


class ForkedCommands:
    """The process that forks, connected to one service by its environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.forked_commands"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Return what a command prints, which must succeed, also in another working folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, str(folder or Path.cwd())]) + "\n")
        self._process.stdin.flush()
        done = json.loads(self._process.stdout.readline())
        assert done["status"] == 0, done["errors"]
        return str(done["output"])

    def close(self) -> None:
        """End the process."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


def main() -> None:
    """Import what the commands import, and fork for each line."""
    import deployments.operations.backups
    import deployments.operations.cache
    import deployments.operations.reembedding
    import deployments.operations.running_service  # noqa: F401

    for line in sys.stdin:
        sys.stdout.write(json.dumps(_forked(*json.loads(line))) + "\n")
        sys.stdout.flush()


def _forked(arguments: Sequence[str], folder: str) -> dict[str, Any]:
    with TemporaryFile() as output, TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os.chdir(folder)
            os._exit(_status(arguments))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        errors.seek(0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "output": output.read().decode(),
            "errors": errors.read().decode(),
        }


def _status(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status, after all that it prints is written."""
    try:
        return cli.main(arguments)
    except BaseException:  # noqa: BLE001 - the child must not continue as its parent
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()

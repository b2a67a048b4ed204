"""Two services on this machine, one of them at an address of IPv6, and commands beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from tests.cluster.service import RunningService

KEY = "the-key-of-the-second-service"

Pair: TypeAlias = "tuple[RunningService, RunningService]"

TAKES_MINUTES = pytest.mark.skipif(
    "TEST_SERVICES" not in os.environ, reason="takes minutes; TEST_SERVICES=1 runs it"
)


@contextmanager
def started_pair(folder: Path) -> Iterator[Pair]:
    """Start a service without keys and one with a key at ``::1``, each with its collection."""
    started: list[RunningService] = []
    try:
        for name, key, host in (("open", None, "127.0.0.1"), ("keyed", KEY, "::1")):
            (folder / name).mkdir()
            started.append(RunningService(folder / name, key, host=host))
            started[-1].wait()
            put = f"{started[-1].url}/v1/collections/{name}"
            httpx.put(put, json={}, headers=started[-1].headers, timeout=30).raise_for_status()
        yield started[0], started[1]
    finally:
        for one in started:
            one.stop()


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `embedder` in a shell without variables of Ray, but with these."""
    program = [str(Path(sys.executable).with_name("embedder")), *arguments]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
    return subprocess.run(program, env={**environment, **variables}, capture_output=True, text=True)

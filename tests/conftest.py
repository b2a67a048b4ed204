"""For every test: files are in memory, the user's data is left alone, services take longer."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.unit.index.storage.postgres.postgres_server import AT_END

MEMORY = "/dev/shm"
MEMORY_BYTES = 4 << 30
"""Free bytes that a run may take there; a container may have less."""


def _is_usable(folder: str) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    space = os.statvfs(folder)
    executes = not space.f_flag & os.ST_NOEXEC
    return executes and space.f_bavail * space.f_frsize >= MEMORY_BYTES


# A killed process loses nothing there either, and stores wait for no disk.
if _is_usable(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)

SERVICES = [Path(__file__).parent / folder for folder in ("cluster", "nodes")]
"""The folders whose tests start a service."""

TEST_S = 900
"""Seconds for one test there, whose first may start the service; ``--timeout`` replaces it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests of services, so that ``-m 'not cluster'`` leaves them out; give them more time."""
    for item in items:
        if any(folder in item.path.parents for folder in SERVICES):
            item.add_marker(pytest.mark.cluster)
            if config.getoption("timeout") is None:
                item.add_marker(pytest.mark.timeout(TEST_S))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without garbage collections, which would take a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Stop the servers of PostgreSQL."""
    AT_END.close()


@pytest.fixture(scope="session", autouse=True)
def data_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give whatever keeps its data where the user's is a folder that goes with the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield

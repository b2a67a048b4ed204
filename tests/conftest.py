"""For every test: the user's own data folder is left alone; services take longer."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.unit.index.storage.postgres.postgres_server import AT_END

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

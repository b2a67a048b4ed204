"""One service for all cluster tests of a run; stopping it is the last test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.service import RunningService

HERE = Path(__file__).parent


TEST_S = 900
"""Seconds for one test, whose first may start the service; ``--timeout`` replaces it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything here, so that ``-m 'not cluster'`` leaves it out, and give it more time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if config.getoption("timeout") is None:
                item.add_marker(pytest.mark.timeout(TEST_S))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield a service that is ready, and see that stopping it leaves nothing behind."""
    running = RunningService(tmp_path_factory.mktemp("service"))
    try:
        running.wait()
        yield running
    finally:
        status = running.stop()
    assert status == 0
    assert running.remaining() == []

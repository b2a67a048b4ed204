"""One service for all cluster tests of a run; stopping it is the last test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cross_encoder import write_cross_encoder
from tests.cluster.forked_commands import ForkedCommands
from tests.cluster.service import RunningService
from tests.cluster.service_pair import Pair, started_pair
from tests.ports import free_port


@pytest.fixture(scope="session")
def traces_port() -> int:
    """Return the port to which the service sends traces."""
    return free_port()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, traces_port: int) -> Iterator[RunningService]:
    """Yield a service that is ready, and see that stopping it leaves nothing behind."""
    folder = tmp_path_factory.mktemp("service")
    write_cross_encoder(folder)
    running = RunningService(folder, traces_port=traces_port)
    try:
        running.wait()
        yield running
    finally:
        status = running.stop()
    assert status == 0
    assert running.remaining() == []


@pytest.fixture(scope="session")
def commands(service: RunningService) -> Iterator[ForkedCommands]:
    """Yield what runs commands beside the service, without the imports of each."""
    commands = ForkedCommands(service.environment)
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Yield two services, which no other module shares."""
    with started_pair(tmp_path_factory.mktemp("pair")) as both:
        yield both

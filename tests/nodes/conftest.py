"""A cluster of machines for all tests of a run that need one, and one of logical nodes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.nodes.machines import problem, started
from tests.nodes.shipped import GROUPS, ShippedCluster
from tests.nodes.waiting import is_ready, wait_for


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedCluster]:
    """Yield a service on three machines, each of which is ready."""
    if (why := problem()) is not None:
        pytest.skip(why)
    with started(list(GROUPS), tmp_path_factory.mktemp("machines")) as running:
        cluster = ShippedCluster(running)
        cluster.install()
        cluster.start("head")
        with ThreadPoolExecutor() as threads:
            list(threads.map(cluster.start, set(GROUPS) - {"head"}))
        cluster.deploy()
        for name in GROUPS:
            wait_for(f"{name} is ready", partial(is_ready, cluster.url(name, "")))
        yield cluster

"""A service on several nodes that loses one answers every request, at the nodes that are left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.drill.expected import Expected
from tests.drill.figures import Figures
from tests.drill.rows import Row, skipped_unless_wanted, wanted
from tests.nodes.logical_service import served
from tests.nodes.shipped import ShippedCluster

pytestmark = skipped_unless_wanted

LOST = "cpu"
"""A node without the index; other nodes have replicas of all other stages too."""


@pytest.mark.parametrize("row", wanted(["remove node"]))
async def test_no_embed_request_fails_when_a_nodes_processes_are_killed(
    expected: Expected, table: list[Figures], tmp_path: Path, row: str
) -> None:
    """On logical nodes of this machine, each with a port of its own."""
    with served(tmp_path, backend={"device": "cpu"}) as service:
        urls = list(service.urls.values())
        one = Row(row, urls, expected, table, service.headers, has_swapped=False)
        await one.run(lambda: asyncio.to_thread(service.remove, LOST))


@pytest.mark.parametrize("row", wanted(["disconnect node"]))
async def test_no_embed_request_fails_when_a_node_loses_its_link(
    machines: ShippedCluster, expected: Expected, table: list[Figures], row: str
) -> None:
    """On machines with addresses of their own, in network namespaces."""
    urls = [machines.url(name, "") for name in machines.machines]
    one = Row(row, urls, expected, table, machines.headers, has_swapped=False)
    await one.run(lambda: asyncio.to_thread(machines.machines[LOST].disconnect))

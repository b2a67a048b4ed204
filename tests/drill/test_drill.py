"""A service that loses its parts under load answers every embed request, with the right vectors.

The parameters are in `rows`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.service import RunningService, write_config
from tests.drill.expected import Expected
from tests.drill.faults import Fault, ProcessFaults
from tests.drill.figures import Figures
from tests.drill.rows import READY_S, STOPPED_S, Row, skipped_unless_wanted, wanted

pytestmark = skipped_unless_wanted

POOLS = ("one", "two")
REPLICAS = {
    "Ingress": 2,
    "Tokenizer": 2,
    **{f"Encoder-{pool}": 1 for pool in POOLS},
    "EmbeddingCache-0": 1,
    "VectorIndex-0": 1,
}
KINDS = (*REPLICAS, "controller", "HAProxy")
# The last row is of a configuration that the others do not expect.
ROWS = [f"{fault} {kind}" for fault in ("kill", "stop") for kind in KINDS] + ["swap", "redeploy"]

TWO: dict[str, Any] = {"min_replicas": 2, "max_replicas": 2}
ARGUMENTS: dict[str, Any] = {
    "ingress": TWO,
    # Every request passes through every stage.
    "tokenizer": {**TWO, "placement": "remote"},
    "encoder": {"pools": [{"name": pool, "replicas": 1} for pool in POOLS]},
    # The texts come round again after it, so that most of them are computed each time.
    "cache": {"ttl_s": 3.0},
}
COMPRESS_BYTES = 1_000_000
"""Of the redeployment; any other setting would do."""


@dataclass(frozen=True, slots=True)
class Drill:
    """The service and its faults by row."""

    service: RunningService
    processes: ProcessFaults
    faults: Mapping[str, Fault]


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory, expected: Expected) -> Iterator[Drill]:
    """Yield a service of two replicas a stage, or of two pools of one encoder."""
    folder = tmp_path_factory.mktemp("drill")
    service = RunningService(folder, None, expected.swapped.entry, **ARGUMENTS)
    try:
        service.wait()
        processes = ProcessFaults(service, REPLICAS)
        faults = {
            **processes.rows(STOPPED_S),
            "swap": lambda: _swap(service, expected),
            "redeploy": lambda: _deploy(service, expected, compress_bytes=COMPRESS_BYTES),
        }
        yield Drill(service, processes, faults)
    finally:
        service.stop()


@pytest.mark.parametrize("row", wanted(ROWS))
async def test_no_embed_request_fails_and_no_vector_is_wrong(
    drill: Drill, expected: Expected, table: list[Figures], row: str
) -> None:
    await drill.processes.until_whole()
    one = Row(row, [drill.service.url], expected, table)
    await one.run(drill.faults[row], drill.processes.until_whole)


async def _deploy(service: RunningService, expected: Expected, **changed: Any) -> None:
    """Apply the configuration with a change; one of ``args:`` replaces every replica."""
    arguments = {**ARGUMENTS, **changed}
    config = write_config(service.folder, expected.swapped.entry, **arguments)
    process = service.deploy(config)
    assert await asyncio.to_thread(process.wait, READY_S) == 0


async def _swap(service: RunningService, expected: Expected) -> None:
    expected.swapped.swap()
    await _deploy(service, expected)
    deadline = time.monotonic() + READY_S
    while not expected.swapped.has_moved:
        assert time.monotonic() < deadline, "the name still has its previous model"
        await asyncio.sleep(0.2)

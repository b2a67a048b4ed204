"""Probes of a failed shard write few bytes: one traceback, one line for each, then a number.

``TEST_PROBES=3600`` sends as many.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from deployments.index.replica import IndexReplica
from deployments.logs.replica_log import SERVE_LOGGER
from deployments.settings.service import ServeSettings
from tests.unit.deployments.ingress.fake_service import FakeService, refusal
from tests.unit.deployments.local_handle import LocalHandle
from tests.unit.deployments.logs.serve_log import serve_log

PROBES = int(os.environ.get("TEST_PROBES", "200"))
BYTES_PER_PROBE = 10_000_000 / 3600
SHARD = "VectorIndex-0"


class LoggingHandle(LocalHandle):
    """A handle whose stage logs the exception of a call as Serve does in a replica."""

    async def _answer(self, method: str, args: Sequence[Any]) -> Any:
        try:
            return await super()._answer(method, args)
        except Exception:
            logging.getLogger(SERVE_LOGGER).exception("Request failed.")
            raise


async def test_the_log_of_a_failed_shard_stays_small(tmp_path: Path) -> None:
    file = tmp_path / "data" / "index" / SHARD / "truth.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 8192)
    logs = tmp_path / "logs"
    with serve_log(logs) as log:
        settings = ServeSettings.model_validate({"data_directory": str(tmp_path / "data")})
        shard = IndexReplica(settings, SHARD)
        service = FakeService()
        handle = service.handles["index"]
        handle.__class__ = LoggingHandle
        handle._stage = shard
        async with service.client() as http:
            probes = [await _probe(http, number) for number in range(PROBES)]
        await shard._stop()
        lines, size = log.lines(), log.size()

    assert {refusal(one) for one in probes} == {(503, "storage_damaged", None)}
    assert size < PROBES * BYTES_PER_PROBE
    assert sum("Traceback" in line for line in lines) == 1
    assert sum("request failed: method=POST" in line for line in lines) == PROBES


async def _probe(http: httpx.AsyncClient, number: int) -> httpx.Response:
    search = {"vector": [1.0, 0.0]}
    headers = {"x-request-id": f"probe-{number}"}
    return await http.post("/v1/collections/docs/search", json=search, headers=headers)

"""A connection batches as the settings say, and loads a colocated stage unless it is remote.

A colocated stage that cannot be loaded is no fault.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest

from deployments.ingress.service import connection
from deployments.tokenizer.colocated import ColocatedTokenizer
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import NEVER
from embedder.core.types import Encoded, Priority, TokenBatch
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.virtual_time import VirtualTime


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fail every load of a colocated stage, and return those that were tried."""
    tried: list[str] = []

    def fail(stage: str, *_: object) -> None:
        tried.append(stage)
        raise OSError("no such disk")

    monkeypatch.setattr(ColocatedTokenizer, "load", partial(fail, "tokenizer"))
    monkeypatch.setattr(connection, "load_unmeasured", partial(fail, "encoder"))
    return tried


async def test_nothing_is_loaded_if_both_stages_are_remote(loads: list[str]) -> None:
    served = await FakeService().models.get()

    assert loads == []
    assert (served.colocated_tokenizer, served.colocated_encoder) == (None, None)


@pytest.mark.parametrize("placement", ["auto", "colocated"])
async def test_without_a_colocated_stage_its_deployment_has_all_calls_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, loads: list[str], placement: str
) -> None:
    stage = {"placement": placement}
    service = FakeService(tokenizer=stage, encoder=stage)
    with caplog.at_level(logging.WARNING, "ray.serve"):
        response = await service.post_texts("aab")

    assert sorted(loads) == ["encoder", "tokenizer"]
    assert response.status_code == 200
    assert len(service.encoder.calls) == 1
    assert caplog.text.count("no such disk") == 2


async def test_a_model_that_is_not_pinned_is_encoded_by_its_replicas_alone(
    loads: list[str],
) -> None:
    models = {"name": "all-MiniLM-L6-v2"}, {"name": "/models/other"}
    service = FakeService(*models, encoder={"placement": "colocated"})
    for name in (None, "other"):
        await service.models.get(name)

    assert loads == ["encoder"]


async def test_a_model_is_loaded_here_while_its_replicas_load_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = FakeService(encoder={"placement": "auto"})
    service.encoder.releases["all-MiniLM-L6-v2"] = release = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        connection, "load_unmeasured", lambda *_: loop.call_soon_threadsafe(release.set)
    )

    assert (await service.models.get()).info.name == "all-MiniLM-L6-v2"


async def test_a_model_is_not_loaded_here_if_its_replicas_need_a_gpu(loads: list[str]) -> None:
    await FakeService(encoder={"placement": "auto", "hardware": "gpu"}).models.get()

    assert loads == []


async def test_no_call_of_a_connection_has_more_than_max_items_inputs() -> None:
    service = FakeService(batching={"max_items": 3})
    response = await service.post_texts(*(f"text {number}" for number in range(10)))

    assert response.status_code == 200, response.text
    assert [len(rows) for rows, _, _ in service.encoder.calls] == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("bulk_delay_s", "older_by_s", "first"),
    [(0.0, 0.5, "bulk"), (20.0, 10.0, "interactive"), (20.0, 30.0, "bulk")],
)
async def test_bulk_work_of_a_connection_waits_bulk_delay_s_longer(
    virtual_time: VirtualTime,
    monkeypatch: pytest.MonkeyPatch,
    bulk_delay_s: float,
    older_by_s: float,
    first: str,
) -> None:
    monkeypatch.setitem(BatchingEncoder.__init__.__kwdefaults__ or {}, "clock", virtual_time)
    stage = {"placement": "remote", "max_replicas": 1, "calls_per_replica": 1}
    batching = {"bulk_delay_s": bulk_delay_s, "max_items": 1}
    service = FakeService(batching=batching, encoder=stage)
    encoder = (await service.models.get()).encoder

    def encode(text: str, priority: Priority) -> asyncio.Task[Encoded]:
        batch = TokenBatch.of([[ord(text)]])
        return asyncio.create_task(encoder.encode(batch, priority=priority, deadline=NEVER))

    # The others wait while the first call is in progress.
    sent = [encode("a", Priority.INTERACTIVE), encode("b", Priority.BULK)]
    await asyncio.sleep(0)
    virtual_time.stand_still(older_by_s)
    sent.append(encode("c", Priority.INTERACTIVE))
    await asyncio.gather(*sent)

    names = {"a": "in progress", "b": "bulk", "c": "interactive"}
    order = [names[chr(rows[0][0])] for rows, _, _ in service.encoder.calls]
    assert order[:2] == ["in progress", first]

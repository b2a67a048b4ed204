"""Which batches the ingress encodes, and which go to the stage."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployments.encoder import colocated
from deployments.encoder.colocated import ColocatedEncoder, load_unmeasured
from deployments.settings.placement import Placement
from deployments.settings.service import ServeSettings
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import NEVER
from embedder.core.errors import BackendFailure, ConfigurationError, DeadlineExceeded
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.inference.loading import LoadedBackend
from embedder.settings.model import EmbedderSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import MODEL

TOKENS = TokenBatch.of([[1, 2], [3]])


class Device:
    """Encodes every row as its own mark, once it may; counts its batches."""

    def __init__(self, mark: float) -> None:
        self.mark = mark
        self.batches = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.encoder = BatchingEncoder(self._run, budget=Budget(100))

    async def _run(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        self.batches += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Encoded(np.full((len(tokens.lengths), 1), self.mark, np.float32), 0.0, 0.0)


class Pair:
    """A colocated encoder over one device, and the stage over another."""

    def __init__(self, placement: Placement) -> None:
        self.local, self.stage = Device(1.0), Device(2.0)
        self.encoder = ColocatedEncoder(self.stage.encoder, self.local.encoder, placement)

    async def encode(self) -> list[float]:
        encoded = await self.encoder.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=NEVER)
        return [float(one) for one in encoded.vectors[:, 0]]


@pytest.mark.parametrize(("placement", "mark"), [("auto", 1.0), ("colocated", 1.0)])
async def test_an_idle_process_encodes_according_to_its_placement(
    placement: Placement, mark: float
) -> None:
    pair = Pair(placement)

    assert await pair.encode() == [mark, mark]


@pytest.mark.parametrize("busy", ["local", "stage"])
@pytest.mark.parametrize(("placement", "mark"), [("auto", 2.0), ("colocated", 1.0)])
async def test_a_busy_process_encodes_only_if_the_encoder_is_colocated(
    placement: Placement, mark: float, busy: str
) -> None:
    pair = Pair(placement)
    device: Device = getattr(pair, busy)
    device.gate.clear()
    before = asyncio.ensure_future(
        device.encoder.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=NEVER)
    )
    await asyncio.sleep(0)
    asked = asyncio.ensure_future(pair.encode())
    await asyncio.sleep(0)
    device.gate.set()
    await before

    assert await asked == [mark, mark]


async def test_stats_count_the_batches_of_this_process() -> None:
    pair = Pair("colocated")
    snapshots = []
    for _ in range(2):
        await pair.encode()
        snapshots.append(pair.encoder.stats)

    assert [(stats.batches, stats.items, stats.tokens) for stats in snapshots] == [
        (1, 2, 3),
        (2, 4, 6),
    ]


@pytest.mark.parametrize("kind", [BackendFailure, RuntimeError])
async def test_a_batch_that_fails_here_goes_to_the_stage_with_a_warning(
    caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    pair = Pair("colocated")
    pair.local.error = kind("no such instruction")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        found = await pair.encode()

    assert found == [2.0, 2.0]
    assert "no such instruction" in caplog.text


async def test_a_batch_after_its_deadline_is_not_repeated() -> None:
    pair = Pair("colocated")
    pair.local.error = DeadlineExceeded("queue")

    with pytest.raises(DeadlineExceeded):
        await pair.encode()
    assert pair.stage.batches == 0


class Backend:
    """The backend of a loaded model, as far as an encoder reads it before a batch."""

    max_concurrency = 1
    padded = False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[EmbedderSettings]:
    """Load a model with the vectors of `MODEL`; return the settings of each load."""
    given: list[EmbedderSettings] = []

    def load(settings: EmbedderSettings) -> LoadedBackend:
        given.append(settings)
        backend: Any = Backend()
        return LoadedBackend(backend, MODEL, None)

    monkeypatch.setattr(colocated, "load_model", load)
    return given


def _load(info: ModelInfo) -> ColocatedEncoder:
    settings = ServeSettings()
    loaded = load_unmeasured(settings, ModelSettings(alias="prod"))
    return ColocatedEncoder.of(Device(2.0).encoder, loaded, settings, info)


def test_an_encoder_of_the_same_model_is_loaded_with_the_budget_of_its_replicas(
    asked: list[EmbedderSettings],
) -> None:
    encoder = _load(replace(MODEL, max_batch_tokens=4321))

    assert encoder.stats.budget_tokens == 4321
    assert asked[0].model.alias == "prod"
    assert asked[0].batching.autotune_s == 0


@pytest.mark.parametrize(
    "there",
    [
        {"digest": "f" * 64},
        {"config_digest": "f" * 64},
        {"dtype": "bfloat16"},
        {"backend": "onnx"},
        {"device": "cuda:0"},
    ],
)
@pytest.mark.usefixtures("asked")
def test_an_encoder_that_would_give_other_vectors_is_refused(there: dict[str, str]) -> None:
    info: ModelInfo = replace(MODEL, **there)  # type: ignore[arg-type] # all of them are strings

    with pytest.raises(ConfigurationError, match=f"^{next(iter(there))} of"):
        _load(info)

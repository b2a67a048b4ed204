"""An encoder replica: several models on one device, health checks, and the routing of calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from deployments.encoder import replica as encoder
from deployments.encoder.replica import EncoderReplica
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.core.errors import ConfigurationError
from embedder.core.types import Priority, TokenBatch, Vectors
from embedder.inference import encoder_pool
from embedder.inference.loading import LoadedBackend, load_model
from embedder.settings.model import EmbedderSettings, ModelSettings
from tests.tiny_models import write_tiny_bert
from tests.unit.inference.fake_loads import clock_of
from tests.unit.traces import Traces, context_of, links_of
from tests.unit.waiting import LONG_S, until

ROW = TokenBatch.of([[2, 5, 3]])
Start = Callable[..., Awaitable[EncoderReplica]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSettings, ModelSettings]:
    """Return two models, whose vectors have 32 and 16 components."""
    root = tmp_path_factory.mktemp("models")
    for name in ("wide", "narrow"):
        (root / name).mkdir()
    return (
        _model(write_tiny_bert(root / "wide")),
        _model(write_tiny_bert(root / "narrow", hidden_size=16)),
    )


def _model(directory: Path) -> ModelSettings:
    return ModelSettings(name=str(directory), offline=True)


@pytest.fixture
def start(models: tuple[ModelSettings, ModelSettings]) -> Start:
    """Start a replica whose first model is pinned, in the test's own event loop."""

    async def started(**args: Any) -> EncoderReplica:
        settings = ServeSettings.model_validate({"batching": {"autotune_s": 0}, **args})
        replica = EncoderReplica(settings)
        await replica.reconfigure(_config(models[0]))
        return replica

    return started


def _config(*models: ModelSettings) -> dict[str, Any]:
    return {"models": [model.model_dump(mode="json") for model in models]}


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the fake device of each model that a replica loads, by the model's key."""
    by_key: dict[str, Any] = {}

    def load(settings: EmbedderSettings) -> LoadedBackend:
        loaded = load_model(settings)
        by_key[settings.model.key] = loaded.backend
        return loaded

    monkeypatch.setattr(encoder_pool, "load_model", load)
    return by_key


def _names(replica: EncoderReplica) -> set[str]:
    """Return the folders of the models that are loaded."""
    return {Path(ModelSettings.model_validate_json(key).name).name for key in _loaded(replica)}


def _loaded(replica: EncoderReplica) -> list[str]:
    return [state.key for state in replica._encoders.states() if state.state == "ready"]


async def _encode(replica: EncoderReplica, model: ModelSettings) -> Vectors:
    return (await replica.encode(model, ROW, Priority.INTERACTIVE, NEVER)).vectors


async def test_a_replica_encodes_with_the_model_of_the_call(
    start: Start, models: tuple[ModelSettings, ModelSettings]
) -> None:
    replica = await start()
    before = _names(replica)
    widths = [(await _encode(replica, model)).shape for model in models]
    described = [(await replica.describe(model)).width for model in models]

    assert before == {"wide"}
    assert widths == [(1, 32), (1, 16)]
    assert described == [32, 16]
    assert {one.model.pinned for one in (await replica.stats()).models} == {True, False}


async def test_a_replica_that_cannot_load_its_first_model_does_not_start(tmp_path: Path) -> None:
    replica = EncoderReplica(ServeSettings())

    with pytest.raises(ConfigurationError):
        await replica.reconfigure(_config(_model(tmp_path / "missing")))


async def test_a_change_that_cannot_be_loaded_keeps_the_present_models(
    start: Start,
    models: tuple[ModelSettings, ModelSettings],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    replica = await start()
    await replica.reconfigure(_config(_model(tmp_path / "missing")))
    await until(lambda: "the pinned models stay unchanged" in caplog.text)

    assert (await _encode(replica, models[0])).shape == (1, 32)
    assert _names(replica) == {"wide"}


async def test_the_health_check_of_an_idle_replica_computes_a_batch(start: Start) -> None:
    replica = await start()
    before = replica._encoders.batches
    await replica.check_health()

    assert replica._encoders.batches == before + 1


async def test_a_device_that_fails_while_idle_is_not_healthy(
    start: Start, models: tuple[ModelSettings, ModelSettings], backends: dict[str, Any]
) -> None:
    def fail(tokens: TokenBatch) -> Vectors:
        raise RuntimeError("illegal memory access")

    replica = await start()
    backends[models[0].key].encode = fail

    with pytest.raises(RuntimeError, match="illegal memory access"):
        await replica.check_health()


@pytest.mark.parametrize("busy", [0, 1])
async def test_a_busy_replica_is_healthy_until_no_batch_has_ended_for_long(
    start: Start,
    models: tuple[ModelSettings, ModelSettings],
    backends: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    busy: int,
) -> None:
    replica = await start()
    await _encode(replica, models[1])
    entered, gate = threading.Event(), threading.Event()
    real = backends[models[busy].key].encode

    def wait(tokens: TokenBatch) -> Vectors:
        entered.set()
        gate.wait(LONG_S)
        vectors: Vectors = real(tokens)
        return vectors

    await replica.check_health()
    backends[models[busy].key].encode = wait
    call = asyncio.create_task(_encode(replica, models[busy]))
    await asyncio.to_thread(entered.wait, LONG_S)
    await replica.check_health()
    monkeypatch.setattr(encoder, "STUCK_S", 0.0)
    with pytest.raises(RuntimeError, match="no batch has ended"):
        await replica.check_health()
    gate.set()
    await call
    await replica.check_health()


async def test_idle_models_are_unloaded_and_pinned_models_stay(
    start: Start, models: tuple[ModelSettings, ModelSettings]
) -> None:
    replica = await start(pool={"idle_unload_s": 60})
    clock = clock_of(replica._encoders)
    await _encode(replica, models[1])
    before = _names(replica)
    clock.now = 61.0
    await replica.check_health()
    after = _names(replica)
    await replica.check_health()

    assert (before, after) == ({"wide", "narrow"}, {"wide"})
    assert (await _encode(replica, models[1])).shape == (1, 16)


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the models that replicas announce to Serve."""
    names: list[str] = []

    async def announce(replica: EncoderReplica, name: str) -> str:
        names.append(name)
        return name

    monkeypatch.setattr(EncoderReplica, "_announced", announce)
    return names


@pytest.mark.parametrize(("meant", "expected"), [("narrow-1", ["narrow-1"] * 2), ("", [])])
async def test_a_loaded_multiplexed_model_is_announced(
    start: Start,
    models: tuple[ModelSettings, ModelSettings],
    announced: list[str],
    monkeypatch: pytest.MonkeyPatch,
    meant: str,
    expected: list[str],
) -> None:
    replica = await start()
    monkeypatch.setattr(serve, "get_multiplexed_model_id", lambda: meant)
    await replica.describe(models[1])
    await _encode(replica, models[1])

    assert announced == expected


async def test_a_model_that_cannot_be_loaded_is_not_announced(
    start: Start, announced: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replica = await start()
    monkeypatch.setattr(serve, "get_multiplexed_model_id", lambda: "missing-1")
    with pytest.raises(ConfigurationError):
        await replica.describe(_model(tmp_path / "missing"))

    assert announced == []


async def test_a_batch_is_recorded_for_the_requests_of_a_call(
    start: Start, models: tuple[ModelSettings, ModelSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Traces()
    monkeypatch.setattr(encoder, "service_tracer", lambda: traces.tracer)
    replica = await start()
    requests = (*traces.request().contexts, *traces.request().contexts)
    encoded = await replica.encode(models[0], ROW, Priority.INTERACTIVE, NEVER, requests)
    await replica.encode(models[0], ROW, Priority.INTERACTIVE, NEVER)
    (batch,) = traces.named("batch")

    assert links_of(batch) == list(requests)
    assert encoded.batches == (context_of(batch),)

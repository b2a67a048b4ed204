"""An encoder pool whose loads end on a test's command, each with its own device."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import pytest

from embedder.batching.tuning import Tuning
from embedder.core.deadline import NEVER
from embedder.core.types import Priority, TokenBatch
from embedder.inference.encoder_pool import EncoderPool
from embedder.inference.loading import LoadedBackend
from embedder.inference.tokenizer_pool import TokenizerPool
from embedder.settings.model import EmbedderSettings, ModelSettings, PoolSettings
from tests.tiny_models import write_layout
from tests.unit.fake_device import INFO, Device, loaded, vectors_of_ids
from tests.unit.manual_clock import ManualClock
from tests.unit.waiting import LONG_S

BYTES = 1000
"""Bytes of each model, on disk and loaded."""


class FakeLoads:
    """Replaces `load_model`: records the requested models; loads may be blocked or fail.

    The devices are weakly referenced, so that a test sees when an unloaded model is freed.
    """

    def __init__(self) -> None:
        self.requested: list[ModelSettings] = []
        self.devices: WeakValueDictionary[str, Device] = WeakValueDictionary()
        self.faults: dict[str, Exception] = {}
        self.tuning: Tuning | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, settings: EmbedderSettings) -> LoadedBackend:
        self.requested.append(settings.model)
        self.entered.set()
        assert self.gate.wait(LONG_S), "the test has left the gate closed"
        name = Path(settings.model.name).name
        if name in self.faults:
            raise self.faults[name]
        device = Device()
        self.devices[name] = device
        return replace(
            loaded(device, replace(INFO, name=name, memory_bytes=BYTES)), tuning=self.tuning
        )

    @property
    def names(self) -> list[str]:
        """Return the models that were loaded, in order."""
        return [Path(model.name).name for model in self.requested]

    def block(self) -> None:
        """Block all loads from now on."""
        self.entered.clear()
        self.gate.clear()


def write_models(directory: Path, names: Iterable[str]) -> dict[str, ModelSettings]:
    """Write small model directories, and return their settings by name."""
    for name in names:
        (write_layout(directory / name) / "model.safetensors").write_bytes(b"x" * BYTES)
    return {name: ModelSettings(name=str(directory / name)) for name in names}


def encoder_pool(
    patch: pytest.MonkeyPatch,
    loads: FakeLoads,
    *,
    room: int | None = None,
    idle_s: float | None = None,
) -> EncoderPool:
    """Return a pool with room for ``room`` models."""
    patch.setattr("embedder.inference.encoder_pool.load_model", loads)
    max_bytes = None if room is None else room * BYTES
    pool = PoolSettings(max_bytes=max_bytes, idle_unload_s=idle_s)
    return EncoderPool(EmbedderSettings(pool=pool))


async def encode(pool: EncoderPool, model: ModelSettings, *numbers: int) -> list[list[float]]:
    """Encode inputs of one token each."""
    encoded = await pool.encode(
        model,
        TokenBatch.of([[number] for number in numbers]),
        priority=Priority.INTERACTIVE,
        deadline=NEVER,
    )
    answer: list[list[float]] = encoded.vectors.tolist()
    return answer


def expected(*numbers: int) -> list[list[float]]:
    """Return the vectors of inputs of one token each."""
    answer: list[list[float]] = vectors_of_ids([[number] for number in numbers]).tolist()
    return answer


def ready(pool: EncoderPool) -> set[str]:
    """Return the names of the loaded models."""
    return {_name(state.key) for state in pool.states() if state.state == "ready"}


def pinned(pool: EncoderPool) -> set[str]:
    """Return the names of the pinned models."""
    return {_name(state.key) for state in pool.states() if state.pinned}


def clock_of(pool: EncoderPool | TokenizerPool) -> ManualClock:
    """Return a clock of the test that the pool has from now on."""
    clock = ManualClock()
    pool._pool._clock = clock
    return clock


async def wait_for_event(event: threading.Event) -> None:
    """Wait for an event of another thread without blocking the loop."""
    assert await asyncio.to_thread(event.wait, LONG_S)


def _name(key: str) -> str:
    return Path(ModelSettings.model_validate_json(key).name).name

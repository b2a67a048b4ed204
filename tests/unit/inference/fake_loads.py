"""Several models that load on a test's command, each on a device of its own making."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import pytest

from embedder.core.types import Priority, TokenBatch
from embedder.inference.encoder_pool import EncoderPool
from embedder.inference.loading import LoadedBackend
from embedder.settings.model import EmbedderSettings, ModelSettings, PoolSettings
from tests.tiny_models import write_layout
from tests.unit.fake_device import INFO, Device, loaded, vectors_of_ids

BYTES = 1000
"""What each model takes, as its file says and once it has been loaded."""


class Loads:
    """Stands in for loading: what was asked for in order, and whose load waits or fails.

    The devices are not kept alive, so that what is unloaded can be seen to go.
    """

    def __init__(self) -> None:
        self.asked: list[ModelSettings] = []
        self.devices: WeakValueDictionary[str, Device] = WeakValueDictionary()
        self.faults: dict[str, Exception] = {}
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, settings: EmbedderSettings) -> LoadedBackend:
        self.asked.append(settings.model)
        self.entered.set()
        assert self.gate.wait(10), "the test has left the gate closed"
        name = Path(settings.model.name).name
        if name in self.faults:
            raise self.faults[name]
        device = Device()
        self.devices[name] = device
        return loaded(device, replace(INFO, name=name, memory_bytes=BYTES))

    @property
    def names(self) -> list[str]:
        """Return the models that were loaded, in order."""
        return [Path(model.name).name for model in self.asked]

    def block(self) -> None:
        """Let loads wait from now on."""
        self.entered.clear()
        self.gate.clear()


def write_models(directory: Path, names: Iterable[str]) -> dict[str, ModelSettings]:
    """Write models that can be opened, and return their settings by name."""
    for name in names:
        (write_layout(directory / name) / "model.safetensors").write_bytes(b"x" * BYTES)
    return {name: ModelSettings(name=str(directory / name)) for name in names}


def encoders(
    patch: pytest.MonkeyPatch, loads: Loads, *, room: int | None = None, idle_s: float | None = None
) -> EncoderPool:
    """Return encoders with room for so many models."""
    patch.setattr("embedder.inference.encoder_pool.load_model", loads)
    max_bytes = None if room is None else room * BYTES
    pool = PoolSettings(max_bytes=max_bytes, idle_unload_s=idle_s)
    return EncoderPool(EmbedderSettings(pool=pool))


async def encode(many: EncoderPool, model: ModelSettings, *numbers: int) -> list[list[float]]:
    """Encode inputs of one token each."""
    encoded = await many.encode(
        model,
        TokenBatch.of([[number] for number in numbers]),
        priority=Priority.INTERACTIVE,
        deadline=None,
    )
    answer: list[list[float]] = encoded.vectors.tolist()
    return answer


def expected(*numbers: int) -> list[list[float]]:
    """Return what the devices make of inputs of one token each."""
    answer: list[list[float]] = vectors_of_ids([[number] for number in numbers]).tolist()
    return answer


def ready(many: EncoderPool) -> set[str]:
    """Return the names of what is loaded."""
    return {_name(state.key) for state in many.states() if state.state == "ready"}


def pinned(many: EncoderPool) -> set[str]:
    """Return the names of what is pinned."""
    return {_name(state.key) for state in many.states() if state.pinned}


async def happened(event: threading.Event) -> None:
    """Wait for another thread, and leave the loop free meanwhile."""
    assert await asyncio.to_thread(event.wait, 5)


def _name(key: str) -> str:
    return Path(ModelSettings.model_validate_json(key).name).name

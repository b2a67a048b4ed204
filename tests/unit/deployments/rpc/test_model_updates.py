"""A starting replica waits for its models; a running replica loads in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.rpc import model_updates
from deployments.rpc.model_updates import ModelUpdates
from embedder.core.errors import ConfigurationError
from embedder.settings.model import ModelSettings

NO_WEIGHTS = ConfigurationError("no weights")


class Stages:
    """Loads the pinned models when the test allows it, one list after the other."""

    def __init__(self) -> None:
        self.pinned: list[str] = []
        self.started_loads: list[list[str]] = []
        self.ends: list[asyncio.Future[None]] = []
        self._pinning = asyncio.Lock()

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        async with self._pinning:
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.started_loads.append([model.name for model in models])
            self.ends.append(end)
            await end
            self.pinned = self.started_loads[-1]


def config(*names: str) -> dict[str, Any]:
    """Return a ``user_config`` of these models, and of one that is not pinned."""
    models = [{"name": name, "pinned": True} for name in names]
    return {"models": [*models, {"name": "on-request"}]}


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat failed loads at once."""
    monkeypatch.setattr(model_updates, "RETRY_S", 0.0)


async def started(stages: Stages) -> ModelUpdates:
    """Return the model updates of a replica that runs with the model ``old``."""
    pinned = ModelUpdates(stages)
    starting = asyncio.ensure_future(pinned.apply(config("old")))
    await settle()
    stages.ends[0].set_result(None)
    await starting
    return pinned


async def test_a_replica_has_started_when_its_pinned_models_are_loaded() -> None:
    stages = Stages()
    starting = asyncio.ensure_future(ModelUpdates(stages).apply(config("one", "two")))
    await settle()
    before = starting.done()
    stages.ends[0].set_result(None)
    await starting

    assert not before
    assert stages.pinned == ["one", "two"]


async def test_the_first_model_is_always_pinned() -> None:
    stages = Stages()
    starting = asyncio.ensure_future(ModelUpdates(stages).apply({"models": [{"name": "one"}]}))
    await settle()
    stages.ends[0].set_result(None)
    await starting

    assert stages.pinned == ["one"]


async def test_a_replica_that_cannot_load_its_models_does_not_start() -> None:
    stages = Stages()
    starting = asyncio.ensure_future(ModelUpdates(stages).apply(config("one")))
    await settle()
    stages.ends[0].set_exception(NO_WEIGHTS)

    with pytest.raises(ConfigurationError, match="no weights"):
        await starting


async def test_a_replica_without_a_valid_list_of_models_does_not_start() -> None:
    with pytest.raises(ValidationError):
        await ModelUpdates(Stages()).apply({"models": []})


async def test_a_running_replica_loads_a_change_in_the_background() -> None:
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(config("new"))
    await settle()
    meanwhile = stages.pinned
    stages.ends[1].set_result(None)
    await settle()

    assert meanwhile == ["old"]
    assert stages.pinned == ["new"]


@pytest.mark.parametrize("error", [NO_WEIGHTS, RuntimeError("a bug")])
async def test_a_failed_load_on_a_running_replica_is_retried(error: Exception) -> None:
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(config("new"))
    await settle()
    stages.ends[1].set_exception(error)
    await settle()
    meanwhile = stages.pinned
    stages.ends[2].set_result(None)
    await settle()

    assert meanwhile == ["old"]
    assert stages.pinned == ["new"]
    assert stages.started_loads == [["old"], ["new"], ["new"]]


async def test_a_failed_load_is_not_retried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_updates, "RETRY_S", 1000.0)
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(config("new"))
    await settle()
    stages.ends[1].set_exception(NO_WEIGHTS)
    await settle()

    assert stages.started_loads == [["old"], ["new"]]


async def test_the_last_of_several_changes_wins_and_cancels_the_others() -> None:
    stages = Stages()
    pinned = await started(stages)
    for name in ("second", "third", "fourth"):
        await pinned.apply(config(name))
        await settle()
    stages.ends[-1].set_result(None)
    await settle()

    assert stages.pinned == ["fourth"]
    assert all(end.cancelled() for end in stages.ends[1:-1])


async def test_a_change_ends_the_retries_of_the_previous_change() -> None:
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(config("missing"))
    await settle()
    stages.ends[1].set_exception(NO_WEIGHTS)
    await pinned.apply(config("new"))
    await settle()
    stages.ends[-1].set_result(None)
    await settle()

    assert stages.pinned == ["new"]
    assert stages.started_loads[-1] == ["new"]


@pytest.mark.parametrize(
    "wrong", [{"models": []}, {"models": [{"nam": "x"}]}, {"model": {}}, config("a", "a")]
)
async def test_an_invalid_list_changes_nothing_on_a_running_replica(
    wrong: dict[str, Any],
) -> None:
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(wrong)
    await settle()

    assert stages.pinned == ["old"]
    assert stages.started_loads == [["old"]]


async def test_an_invalid_list_does_not_end_a_load_in_progress() -> None:
    stages = Stages()
    pinned = await started(stages)
    await pinned.apply(config("new"))
    await pinned.apply({"models": []})
    await settle()
    stages.ends[1].set_result(None)
    await settle()

    assert stages.pinned == ["new"]

"""The configured models, and which of them each name and each task stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from embedder.core.outputs import Task, Tasks, model_for
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings


class ModelConnection(Protocol):
    """The connection to a loaded model."""

    @property
    def tasks(self) -> Tasks:
        """Return what the model can do."""


ConnectionT = TypeVar("ConnectionT", bound=ModelConnection)

Key = str | Task | None
"""A name; for requests without one, their task; None where any model will do: the first one."""


@dataclass(eq=False, slots=True)
class Target(Generic[ConnectionT]):
    """One configured model, and the state of its load.

    Each configuration has its own target, so loads of different configurations stay separate.
    ``tasks`` are None while unknown.
    """

    settings: ModelSettings
    tasks: Tasks | None = None
    connection: ConnectionT | None = None
    problem: str | None = None
    attempt: asyncio.Task[ConnectionT] | None = None
    following: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class Assignment(Generic[ConnectionT]):
    """The model behind a key: ``serving``, if any, serves until ``target`` has loaded."""

    target: Target[ConnectionT]
    serving: Target[ConnectionT] | None


def targets_by_key(targets: Sequence[Target[ConnectionT]]) -> dict[Key, Target[ConnectionT]]:
    """Return the target of each key: first names first, then the first target with the name.

    A task that no target can have is left out.
    """
    by_key: dict[Key, Target[ConnectionT]] = {None: targets[0]}
    tasks = [target.tasks for target in targets]
    chosen = {task: model_for(task, tasks) for task in Task}
    by_key.update({task: targets[at] for task, at in chosen.items() if at is not None})
    by_key.update({model_names(target.settings)[0]: target for target in targets})
    for target in targets:
        for name in model_names(target.settings):
            by_key.setdefault(name, target)
    return by_key

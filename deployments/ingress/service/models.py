"""The model behind each served name and each task, and how these change to another model.

A name keeps its model until the next one has loaded and has answered. Requests end on the model on
which they started. Requests that name no model get the first one with their task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from deployments.ingress.service.model_targets import (
    Assignment,
    ConnectionT,
    Key,
    Target,
    targets_by_key,
)
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded, Unavailable, UnknownModel, UnsupportedTask
from embedder.core.outputs import Task, Tasks
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings

Connect = Callable[[ModelSettings], Awaitable[ConnectionT]]
"""Loads a model, and returns the connection for its requests."""

RETRY_S = 5.0
"""Seconds between a failed load and the next attempt."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class ServedState(Generic[ConnectionT]):
    """The state of one served model.

    ``serving`` is None until the model has loaded, on the first request or because it is pinned.
    ``settings`` are those of the serving model, else of the configured one. ``problem`` says why
    the configured model does not serve, and ``state`` is its state in a word or two.
    """

    name: str
    settings: ModelSettings
    serving: ConnectionT | None
    problem: str | None
    state: str


class ServedModels(Generic[ConnectionT]):
    """The models that clients may name; requests without a name get one by their task."""

    def __init__(self, connect: Connect[ConnectionT], *, retry_s: float = RETRY_S) -> None:
        self._connect = connect
        self._retry_s = retry_s
        self._targets: list[Target[ConnectionT]] = []
        self._assignments: dict[Key, Assignment[ConnectionT]] = {}

    def configure(
        self, models: Sequence[ModelSettings], tasks: Sequence[Tasks | None] = ()
    ) -> None:
        """Serve these models, at least one, each under its names.

        ``tasks`` are those of each model by its files; of a model without an entry they are unknown
        until it has loaded.

        A name that changes to another model keeps the previous one until the other has loaded; so
        do requests without a name. A model that takes over a name and a pinned model load at once,
        any other on its first request. A name that no model has any more is unknown at once.
        """
        known = {
            target.settings.model_dump_json(): target
            for assignment in self._assignments.values()
            for target in (assignment.target, assignment.serving)
            if target is not None
        }
        self._targets = [known.get(one.model_dump_json()) or Target(one) for one in models]
        for target, declared in zip(self._targets, tasks, strict=False):
            target.tasks = declared if target.connection is None else target.tasks
        for target in known.values():
            if target not in self._targets and target.following is not None:
                target.following.cancel()
        self._assign()

    async def get(
        self, name: str | None = None, deadline: Deadline = NEVER, *, task: Task | None = None
    ) -> ConnectionT:
        """Return the connection of a model that has a task; wait for its first load.

        A caller gets the model for which it waits even if the name changes to another model
        meanwhile. If that load fails, the caller waits for the other model. ``task`` None asks for
        no task.

        Raises:
            UnknownModel: no served model has this name.
            UnsupportedTask: the model lacks the task; without a name, all served models do.
            DeadlineExceeded: it has not been loaded by ``deadline``.
            EmbedderError: it cannot be loaded.
        """
        while True:
            assignment = self._assignment(name, task)
            if assignment.serving is not None and assignment.serving.connection is not None:
                return assignment.serving.connection
            try:
                async with deadline.limit():
                    connection = await asyncio.shield(self._attempt(assignment.target))
            except asyncio.TimeoutError:
                raise DeadlineExceeded("Encoder") from None
            except Exception:
                if self._assignment(name, task).target is assignment.target:
                    raise
                continue
            if task is None or task in connection.tasks:
                return connection
            if name is not None:
                raise self._unsupported(name, task)
            # The load has shown that the model lacks the task; another one may have it.

    def check(self, name: str | None, task: Task | None = None) -> None:
        """Check the name of a model, if it is given, and the task as far as that is known.

        Raises:
            UnknownModel: no served model has the name.
            UnsupportedTask: the model lacks the task.
        """
        if name is not None:
            self._assignment(name, task)

    def serving(self) -> list[ConnectionT]:
        """Return the distinct connections of all names."""
        targets = [assignment.serving for assignment in self._assignments.values()]
        connections = [one.connection for one in targets if one and one.connection is not None]
        return list(dict.fromkeys(connections))

    def states(self) -> list[ServedState[ConnectionT]]:
        """Return the state of every served model, in the configured order."""
        return [self.state(model_names(target.settings)[0]) for target in self._targets]

    def state(self, name: str | None, task: Task | None = None) -> ServedState[ConnectionT]:
        """Return the state of the model behind a name, or of the one that has a task.

        Raises:
            UnknownModel: no served model has the name.
            UnsupportedTask: the model lacks the task; without a name, all served models do.
        """
        assignment = self._assignment(name, task)
        serving, target = assignment.serving, assignment.target
        if serving is target:
            state = "ready"
        elif target.problem is not None:
            state = "failed"
        elif serving is not None:
            state = "changing"
        else:
            state = "loading" if target.attempt and not target.attempt.done() else "not loaded"
        return ServedState(
            name=model_names(target.settings)[0],
            settings=(serving or target).settings,
            serving=serving.connection if serving else None,
            problem=target.problem,
            state=state,
        )

    def _assign(self) -> None:
        """Give every name and every task its target; a model in its place serves meanwhile."""
        before, self._assignments = self._assignments, {}
        for key, target in targets_by_key(self._targets).items():
            serving = before[key].serving if key in before else None
            if target.connection is not None:
                serving = target
            self._assignments[key] = Assignment(target, serving)
            if serving is not None or target.settings.pinned:
                self._follow(target)

    def _assignment(self, name: str | None, task: Task | None) -> Assignment[ConnectionT]:
        assignment = self._assignments.get(task if name is None else name)
        if assignment is None:
            if not self._targets and name is None:
                raise Unavailable("no models yet")
            if name is None and task is not None:
                raise self._unsupported(None, task)
            served = tuple(model_names(target.settings)[0] for target in self._targets)
            raise UnknownModel("model", str(name), served)
        tasks = (assignment.serving or assignment.target).tasks
        if task is not None and tasks is not None and task not in tasks:
            raise self._unsupported(name, task)
        return assignment

    def _unsupported(self, name: str | None, task: Task) -> UnsupportedTask:
        able = [one for one in self._targets if one.tasks is not None and task in one.tasks]
        names = tuple(model_names(target.settings)[0] for target in able)
        return UnsupportedTask("model", task.value, name, names)

    def _follow(self, target: Target[ConnectionT]) -> None:
        """Connect a target in the background, with retries."""
        if target.connection is None and target.following is None:
            target.following = asyncio.get_running_loop().create_task(self._until_done(target))

    async def _until_done(self, target: Target[ConnectionT]) -> None:
        while target.connection is None:
            try:
                await asyncio.shield(self._attempt(target))
            except Exception:  # noqa: BLE001 - the attempt has logged it
                await asyncio.sleep(self._retry_s)

    def _attempt(self, target: Target[ConnectionT]) -> asyncio.Task[ConnectionT]:
        """Return the running attempt to connect a target, or start one."""
        if target.attempt is None or target.attempt.done():
            target.attempt = asyncio.get_running_loop().create_task(self._load(target))
            target.attempt.add_done_callback(_retrieve)
        return target.attempt

    async def _load(self, target: Target[ConnectionT]) -> ConnectionT:
        try:
            connection = await self._connect(target.settings)
        except Exception as error:
            target.problem = str(error)
            logger.error("model %s cannot be loaded: %r", model_names(target.settings)[0], error)
            raise
        target.connection, target.problem, target.tasks = connection, None, connection.tasks
        self._assign()
        return connection


def _retrieve(done: asyncio.Task[ConnectionT]) -> None:
    """Retrieve an exception that no caller awaits, so that asyncio does not log it."""
    if not done.cancelled():
        done.exception()

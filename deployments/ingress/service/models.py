"""The model behind each served name, and how a name changes to another model.

A name keeps its model until the next one has loaded and has answered. Requests end on the model on
which they started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded, Unavailable, UnknownModel
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings

ConnectionT = TypeVar("ConnectionT")
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


@dataclass(eq=False, slots=True)
class _Target(Generic[ConnectionT]):
    """One configured model, and the state of its load.

    Each configuration has its own target, so loads of different configurations stay separate.
    """

    settings: ModelSettings
    connection: ConnectionT | None = None
    problem: str | None = None
    attempt: asyncio.Task[ConnectionT] | None = None
    following: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Assignment(Generic[ConnectionT]):
    """The model behind a name: ``serving``, if any, serves until ``target`` has loaded."""

    target: _Target[ConnectionT]
    serving: _Target[ConnectionT] | None


class ServedModels(Generic[ConnectionT]):
    """The models that clients may name; requests without a name get the first one."""

    def __init__(self, connect: Connect[ConnectionT], *, retry_s: float = RETRY_S) -> None:
        self._connect = connect
        self._retry_s = retry_s
        self._targets: list[_Target[ConnectionT]] = []
        # None is the key for requests that name no model.
        self._assignments: dict[str | None, _Assignment[ConnectionT]] = {}

    def configure(self, models: Sequence[ModelSettings]) -> None:
        """Serve these models, at least one, each under its names.

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
        self._targets = [known.get(one.model_dump_json()) or _Target(one) for one in models]
        for target in known.values():
            if target not in self._targets and target.following is not None:
                target.following.cancel()
        before, self._assignments = self._assignments, {}
        for name, target in _by_name(self._targets).items():
            serving = before[name].serving if name in before else None
            if target.connection is not None:
                serving = target
            self._assignments[name] = _Assignment(target, serving)
            if serving is not None or target.settings.pinned:
                self._follow(target)

    async def get(self, name: str | None = None, deadline: Deadline = NEVER) -> ConnectionT:
        """Return the connection of a model; wait for its first load.

        A caller gets the model for which it waits even if the name changes to another model
        meanwhile. If that load fails, the caller waits for the other model.

        Raises:
            UnknownModel: no served model has this name.
            DeadlineExceeded: it has not been loaded by ``deadline``.
            EmbedderError: it cannot be loaded.
        """
        while True:
            assignment = self._assignment(name)
            if assignment.serving is not None and assignment.serving.connection is not None:
                return assignment.serving.connection
            try:
                async with deadline.limit():
                    return await asyncio.shield(self._attempt(assignment.target))
            except asyncio.TimeoutError:
                raise DeadlineExceeded("Encoder") from None
            except Exception:
                if self._assignment(name).target is assignment.target:
                    raise

    def check(self, name: str | None) -> None:
        """Check that a served model has a name.

        Raises:
            UnknownModel: no served model has it.
        """
        self._assignment(name)

    def serving(self) -> list[ConnectionT]:
        """Return the distinct connections of all names."""
        targets = [assignment.serving for assignment in self._assignments.values()]
        connections = [one.connection for one in targets if one and one.connection is not None]
        return list(dict.fromkeys(connections))

    def states(self) -> list[ServedState[ConnectionT]]:
        """Return the state of every served model, in the configured order."""
        return [self.state(model_names(target.settings)[0]) for target in self._targets]

    def state(self, name: str | None) -> ServedState[ConnectionT]:
        """Return the state of the model behind a name.

        Raises:
            UnknownModel: no served model has this name.
        """
        assignment = self._assignment(name)
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

    def _assignment(self, name: str | None) -> _Assignment[ConnectionT]:
        assignment = self._assignments.get(name)
        if assignment is None:
            if name is None:
                raise Unavailable("no models yet")
            served = tuple(model_names(target.settings)[0] for target in self._targets)
            raise UnknownModel("model", name, served)
        return assignment

    def _follow(self, target: _Target[ConnectionT]) -> None:
        """Connect a target in the background, with retries."""
        if target.connection is None and target.following is None:
            target.following = asyncio.get_running_loop().create_task(self._until_done(target))

    async def _until_done(self, target: _Target[ConnectionT]) -> None:
        while target.connection is None:
            try:
                await asyncio.shield(self._attempt(target))
            except Exception:  # noqa: BLE001 - the attempt has logged it
                await asyncio.sleep(self._retry_s)

    def _attempt(self, target: _Target[ConnectionT]) -> asyncio.Task[ConnectionT]:
        """Return the running attempt to connect a target, or start one."""
        if target.attempt is None or target.attempt.done():
            target.attempt = asyncio.get_running_loop().create_task(self._load(target))
            target.attempt.add_done_callback(_retrieve)
        return target.attempt

    async def _load(self, target: _Target[ConnectionT]) -> ConnectionT:
        try:
            connection = await self._connect(target.settings)
        except Exception as error:
            target.problem = str(error)
            logger.error("model %s cannot be loaded: %r", model_names(target.settings)[0], error)
            raise
        target.connection, target.problem = connection, None
        for assignment in self._assignments.values():
            if assignment.target is target:
                assignment.serving = target
        return connection


def _by_name(
    targets: Sequence[_Target[ConnectionT]],
) -> dict[str | None, _Target[ConnectionT]]:
    """Return the target of each name: first names first, then the first target with the name."""
    by_name: dict[str | None, _Target[ConnectionT]] = {None: targets[0]}
    by_name.update({model_names(target.settings)[0]: target for target in targets})
    for target in targets:
        for name in model_names(target.settings):
            by_name.setdefault(name, target)
    return by_name


def _retrieve(done: asyncio.Task[ConnectionT]) -> None:
    """Retrieve an exception that no caller awaits, so that asyncio does not log it."""
    if not done.cancelled():
        done.exception()

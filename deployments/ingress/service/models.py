"""Which model each name stands for at this moment, and how a name moves to another model.

A name keeps its model until the next one has been loaded and has answered; requests that have
begun end on the model they began with. What connecting means is given by the caller. Knows
nothing of handles or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedder.core.errors import Unavailable, UnknownModel
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings

ConnectionT = TypeVar("ConnectionT")
Connect = Callable[[ModelSettings], Awaitable[ConnectionT]]
"""Load a model wherever that is done, and return what its requests go through."""

RETRY_S = 5.0
"""After a load that failed, before the next attempt."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class ServedState(Generic[ConnectionT]):
    """What is known of one served model.

    ``serving`` is None until a request, or a pin, has had it loaded; ``settings`` are those of
    what serves, else what is configured. ``problem`` says why that is not what is served.
    """

    name: str
    settings: ModelSettings
    serving: ConnectionT | None
    problem: str | None
    current: bool
    loading: bool

    @property
    def state(self) -> str:
        """Return in a word how far the configured model is."""
        if self.current:
            return "ready"
        if self.problem is not None:
            return "failed"
        if self.serving is not None:
            return "changing"
        return "loading" if self.loading else "not loaded"


@dataclass(eq=False, slots=True)
class _Target(Generic[ConnectionT]):
    """One model as it was configured once, and how far it is.

    Another configuration is another target, so that attempts for several never meet.
    """

    settings: ModelSettings
    connection: ConnectionT | None = None
    problem: str | None = None
    attempt: asyncio.Task[ConnectionT] | None = None
    following: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Meaning(Generic[ConnectionT]):
    """What one name stands for; ``before``, which is connected, answers until ``target`` is."""

    target: _Target[ConnectionT]
    before: _Target[ConnectionT] | None = None

    @property
    def serving(self) -> _Target[ConnectionT] | None:
        return self.before if self.target.connection is None else self.target

    def changed_to(self, target: _Target[ConnectionT]) -> _Meaning[ConnectionT]:
        if target is self.target:
            return self
        return _Meaning(target, self.serving if target.connection is None else None)


class ServedModels(Generic[ConnectionT]):
    """The models that clients may name; the first one answers where a request names none."""

    def __init__(self, connect: Connect[ConnectionT], *, retry_s: float = RETRY_S) -> None:
        self._connect = connect
        self._retry_s = retry_s
        self._targets: list[_Target[ConnectionT]] = []
        # Under None is what answers where a request names no model.
        self._meanings: dict[str | None, _Meaning[ConnectionT]] = {}

    def configure(self, models: Sequence[ModelSettings]) -> None:
        """Serve these models from now on, each under its names; there must be one at least.

        A name that gets another model goes on with what it has until that is ready, and so does
        the name of none. A model that takes over a name is loaded at once, and so is a pinned one;
        any other when it is first asked for. A name that is not given any more is unknown at once.
        """
        known = {
            target.settings.model_dump_json(): target
            for meaning in self._meanings.values()
            for target in (meaning.target, meaning.before)
            if target is not None
        }
        self._targets = [known.get(one.model_dump_json()) or _Target(one) for one in models]
        for target in known.values():
            if target not in self._targets and target.following is not None:
                target.following.cancel()
        self._meanings = {
            name: self._meanings[name].changed_to(target)
            if name in self._meanings
            else _Meaning(target)
            for name, target in _by_name(self._targets).items()
        }
        for meaning in self._meanings.values():
            if meaning.before is not None or meaning.target.settings.pinned:
                self._follow(meaning.target)

    async def get(self, name: str | None = None) -> ConnectionT:
        """Return what requests for a model go through; wait while it is loaded for the first time.

        Who waits for a model gets it even where the name gets another one meanwhile, unless it
        cannot be loaded: then it is the other one that is waited for.

        Raises:
            UnknownModel: no served model has this name.
            EmbedderError: it cannot be loaded.
        """
        while True:
            meaning = self._meaning(name)
            if meaning.serving is not None and meaning.serving.connection is not None:
                return meaning.serving.connection
            try:
                return await asyncio.shield(self._attempt(meaning.target))
            except Exception:
                if self._meaning(name).target is meaning.target:
                    raise

    def check(self, name: str | None) -> None:
        """Refuse a name that no served model has.

        Raises:
            UnknownModel: as said.
        """
        self._meaning(name)

    def states(self) -> list[ServedState[ConnectionT]]:
        """Return every served model, in the configured order."""
        return [self.state(model_names(target.settings)[0]) for target in self._targets]

    def state(self, name: str | None) -> ServedState[ConnectionT]:
        """Return what one name stands for.

        Raises:
            UnknownModel: no served model has this name.
        """
        meaning = self._meaning(name)
        serving, target = meaning.serving, meaning.target
        return ServedState(
            name=model_names(target.settings)[0],
            settings=(serving or target).settings,
            serving=serving.connection if serving else None,
            problem=target.problem,
            current=serving is target,
            loading=target.attempt is not None and not target.attempt.done(),
        )

    def _meaning(self, name: str | None) -> _Meaning[ConnectionT]:
        meaning = self._meanings.get(name)
        if meaning is None:
            if name is None:
                raise Unavailable("no models yet")
            served = tuple(model_names(target.settings)[0] for target in self._targets)
            raise UnknownModel("model", name, served)
        return meaning

    def _follow(self, target: _Target[ConnectionT]) -> None:
        """Try to connect a target until it is, without anybody who asks for it."""
        if target.connection is None and target.following is None:
            target.following = asyncio.get_running_loop().create_task(self._until_done(target))

    async def _until_done(self, target: _Target[ConnectionT]) -> None:
        while target.connection is None:
            try:
                await asyncio.shield(self._attempt(target))
            except Exception:  # noqa: BLE001 - the attempt has told of it
                await asyncio.sleep(self._retry_s)

    def _attempt(self, target: _Target[ConnectionT]) -> asyncio.Task[ConnectionT]:
        """Return the running attempt to connect a target, or begin one."""
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
        for meaning in self._meanings.values():
            if meaning.target is target:
                meaning.before = None
        return connection


def _by_name(
    targets: Sequence[_Target[ConnectionT]],
) -> dict[str | None, _Target[ConnectionT]]:
    """Return which target each name means: its own first name, else the first in the list."""
    by_name: dict[str | None, _Target[ConnectionT]] = {None: targets[0]}
    by_name.update({model_names(target.settings)[0]: target for target in targets})
    for target in targets:
        for name in model_names(target.settings):
            by_name.setdefault(name, target)
    return by_name


def _retrieve(done: asyncio.Task[ConnectionT]) -> None:
    """Take note of an error that every caller has left before it came."""
    if not done.cancelled():
        done.exception()

"""Which capabilities of the service can be used, for load balancers and operators.

Probes share one call to each stage for `KEEP_S`, which takes constant time. A stage that
hangs is found and restarted by Serve's own health checks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from deployments.encoder.remote_pool import RemotePool
from deployments.ingress.middleware.accepted_keys import PROBLEM
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedState
from deployments.ingress.service.replicas import Handles
from embedder.cache.fail_open import SharedCacheState
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError, DeadlineExceeded, EmbedderError, Unavailable
from embedder.index.contract.health import IndexHealth

KEEP_S, KEEP_UNREADY_S = 1.0, 0.25
"""Seconds for which the states of the stages are reused; the second, while one is not ready."""

STAGE_TIMEOUT_S = 5.0
"""Seconds that one stage may take to answer."""


class Capability(str, Enum):
    """A group of functions that a client may require."""

    EMBEDDINGS = "embeddings"
    INDEX = "index"


class Level(str, Enum):
    """Whether a stage or a capability can be used, from best to worst."""

    READY = "ready"
    DEGRADED = "degraded"
    """Usable, except for the part that its state names."""
    WAITING = "waiting"
    """Starting, or not answering at the moment."""
    FAILED = "failed"
    """An operator has to repair it, or the database of the index."""


@dataclass(frozen=True, slots=True)
class StageState:
    """The state of one stage; ``text`` is for people and holds no paths."""

    level: Level
    text: str


READY = StageState(Level.READY, "ready")
LOADING = StageState(Level.WAITING, "the model is being loaded")
NO_REPLICA = StageState(Level.WAITING, "no replica runs")
IDLE = StageState(Level.DEGRADED, "no replica runs; work starts one where a node has room for it")
OLD_KEYS = StageState(Level.DEGRADED, PROBLEM)
NOT_LOADED = StageState(Level.FAILED, "the model cannot be loaded; the log says why")


@dataclass(frozen=True, slots=True)
class Readiness:
    """The level of every capability, and the state of every stage by its name."""

    capabilities: Mapping[Capability, Level]
    stages: Mapping[str, StageState]

    def has(self, required: Sequence[Capability]) -> bool:
        """Return whether every required capability can be used."""
        usable = (Level.READY, Level.DEGRADED)
        return all(self.capabilities[capability] in usable for capability in required)


class StageProbe:
    """Reads the states of all stages, once for all probes within a time."""

    def __init__(self, handles: Handles, pools: Sequence[RemotePool]) -> None:
        self._stages = handles.clients()
        self._pools = {pool.deployment: pool for pool in pools}
        self._methods = {
            **dict.fromkeys(("Tokenizer", *handles.encoders, *handles.caches), "stats"),
            **dict.fromkeys(handles.indexes, "health"),
        }
        self._probing: asyncio.Task[dict[str, StageState]] | None = None
        self._reused_until_s = 0.0

    async def states(self) -> Mapping[str, StageState]:
        """Return the state of every stage, at most `KEEP_S` old, or `KEEP_UNREADY_S`."""
        probing = self._probing
        if probing is None or (probing.done() and time.monotonic() >= self._reused_until_s):
            self._probing = probing = asyncio.get_running_loop().create_task(self._probe_all())
        # Shielded, so that a cancelled probe does not cancel the shared calls.
        return await asyncio.shield(probing)

    async def _probe_all(self) -> dict[str, StageState]:
        states = await asyncio.gather(
            *(self._read(name, method) for name, method in self._methods.items())
        )
        kept_s = KEEP_S if all(state is READY for state in states) else KEEP_UNREADY_S
        self._reused_until_s = time.monotonic() + kept_s
        return dict(zip(self._methods, states, strict=True))

    async def _read(self, name: str, method: str) -> StageState:
        pool = self._pools.get(name)
        if pool is not None and not pool.count_replicas():
            # A call would wait for a replica, and have Serve start one.
            return IDLE if pool.stage.min_replicas == 0 else NO_REPLICA
        try:
            deadline = Deadline.after(STAGE_TIMEOUT_S)
            answer = await self._stages[name].call(method, deadline=deadline)
        except DeadlineExceeded:
            return StageState(Level.WAITING, f"no answer within {STAGE_TIMEOUT_S:.0f} s")
        except Unavailable as error:
            return StageState(Level.WAITING, str(error))
        except ConfigurationError:  # its message may hold paths
            return NOT_LOADED
        except EmbedderError as error:
            return StageState(Level.FAILED, str(error))
        return _of_index(answer) if method == "health" else READY


def readiness(
    states: Mapping[str, StageState],
    default: ServedState[Connection],
    caches: Sequence[SharedCacheState],
    indexes: Sequence[str],
    encoders: Sequence[str],
    *,
    keys_problem: str | None = None,
) -> Readiness:
    """Return which capabilities can be used.

    ``states`` come from a `StageProbe`, ``default`` is the default model, ``caches`` has the state
    of each cache shard in this ingress, ``indexes`` has the names of the index shards, and
    ``encoders`` those of the pools that have the default model. ``keys_problem`` is why this
    ingress cannot use its keys file, which is shown as a stage as long as that lasts.
    """
    stages = {"Ingress": _of_ingress(default), **states, **_of_caches(states, caches)}
    level = {name: state.level for name, state in stages.items()}
    pools = _of_pools([level[name] for name in encoders])
    levels = {
        Capability.EMBEDDINGS: _worst((level["Ingress"], level["Tokenizer"], pools)),
        Capability.INDEX: _worst((level["Ingress"], *(level[name] for name in indexes))),
    }
    if keys_problem is not None:
        stages["Keys"] = OLD_KEYS
    return Readiness(levels, stages)


def _worst(levels: Sequence[Level]) -> Level:
    return max(levels, key=list(Level).index)


def _of_pools(levels: Sequence[Level]) -> Level:
    """Return the level of the pools of a model: one that answers is enough.

    Pools without a replica count as usable only if all are: where one should have a replica and
    does not answer, work cannot be expected to start another.
    """
    if Level.READY in levels:
        return Level.READY
    return min(
        (one for one in levels if one is not Level.DEGRADED),
        key=list(Level).index,
        default=Level.DEGRADED,
    )


def _of_ingress(default: ServedState[Connection]) -> StageState:
    """Return whether this ingress has connected to the model, for which requests wait."""
    if default.serving is not None:
        return READY
    return LOADING if default.problem is None else NOT_LOADED


def _of_index(answer: Any) -> StageState:
    health: IndexHealth = answer
    if health.status == "ready":
        return READY
    failed = health.status in ("failed", "unavailable")
    level = Level.FAILED if failed else Level.DEGRADED
    return StageState(level, f"{health.status}: {health.problem}")


def _of_caches(
    states: Mapping[str, StageState], seen: Sequence[SharedCacheState]
) -> dict[str, StageState]:
    """Return the states of the cache shards, which are at worst degraded."""
    caches = {}
    for cache in seen:
        state, problem = states[cache.name], ""
        if state is not READY:
            problem = state.text
        elif cache.circuit is not CircuitState.CLOSED:
            problem = f"failed {cache.failures} times and is left alone for a moment"
        caches[cache.name] = (
            StageState(Level.DEGRADED, f"answers are computed without it: {problem}")
            if problem
            else READY
        )
    return caches

"""Whether every stage answers a real question at this moment, and this ingress can ask it.

Without the cache every answer is still right, only later: it is told of, and holds nothing up. Not
through the connection of a model: while one stage is gone there may be none to ask the other
by. A shard of the index with a problem of its own, like damaged data, tells it and holds nothing
up either: embeddings do without it. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.ingress.connection import Connection
from deployments.ingress.handles import Handles
from deployments.ingress.models import ServedState
from deployments.remote import Remote
from embedder.cache.circuit import CircuitState
from embedder.cache.failopen import FarCacheState
from embedder.errors import ConfigurationError, EmbedderError
from embedder.index.health import IndexHealth
from embedder.time_limit import wait_within
from embedder.types import Priority, TokenBatch, Truncate

READY = "ready"
WITHOUT = "answers are computed without it"
LOADING = "the model is being loaded"
NOT_LOADED = "the model cannot be loaded; the log says why"

READY_TIMEOUT_S = 5.0
"""How long one stage may take to answer a readiness probe."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each stage's name with ``ready`` or its problem; ``ready`` is what those say that must be."""

    ready: bool
    stages: Mapping[str, str]


class _Told(str):
    """The problem of a stage that answers, and without which the service is ready."""


async def readiness(
    handles: Handles, default: ServedState[Connection], caches: Sequence[FarCacheState]
) -> Readiness:
    """Ask every stage for the ``default`` model; ``caches`` is what was seen of the shards."""
    model = default.settings
    questions: Mapping[str, tuple[Any, ...]] = {
        "Tokenizer": ("tokenize", model, ["ready"], Truncate.END),
        "Encoder": (
            *("encode", model, TokenBatch.of([[0]])),
            *(Priority.INTERACTIVE, READY_TIMEOUT_S),
        ),
        **{name: ("stats",) for name in handles.caches},
        **{name: ("health",) for name in handles.indexes},
    }
    stages = handles.by_name()
    answers = await asyncio.gather(
        *(_ask(Remote(name, stages[name]), *question) for name, question in questions.items())
    )
    told = {"Ingress": _ingress(default), **dict(zip(questions, answers, strict=True))}
    optional = {*handles.caches, *(name for name, one in told.items() if isinstance(one, _Told))}
    must = all(state == READY for name, state in told.items() if name not in optional)
    return Readiness(must, {**told, **_caches(told, caches)})


def _ingress(default: ServedState[Connection]) -> str:
    """Return whether this ingress has connected to the model: until it has, requests wait."""
    if default.serving is not None:
        return READY
    return LOADING if default.problem is None else NOT_LOADED


def _caches(told: Mapping[str, str], seen: Sequence[FarCacheState]) -> dict[str, str]:
    """Return what is told of the shards: what they answer, and whether they are asked at all."""
    states = {}
    for cache in seen:
        problem = told[cache.name]
        if problem == READY and cache.circuit is not CircuitState.CLOSED:
            problem = f"failed {cache.failures} times and is left alone for a moment"
        states[cache.name] = READY if problem == READY else f"{WITHOUT}: {problem}"
    return states


async def _ask(stage: Remote, method: str, *arguments: Any) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    call = stage.call(method, *arguments, deadline=deadline)
    try:
        answer = await wait_within(call, READY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return f"no answer within {READY_TIMEOUT_S:.0f} s"
    except ConfigurationError:  # its sentence is the operator's, and may hold paths
        return NOT_LOADED
    except EmbedderError as error:
        return str(error)
    if isinstance(answer, IndexHealth) and answer.problem is not None:
        return _Told(answer.problem)
    return READY

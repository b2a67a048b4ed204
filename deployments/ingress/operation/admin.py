"""What the service does at this moment, and its caches: for operators.

Asks every replica of every stage; what does not answer is told as a problem, and fails nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.operation import admin_answers as answers
from deployments.ingress.routing.route import Routes
from deployments.ingress.service import replicas
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedState
from deployments.ingress.service.replicas import Problem
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope
from embedder.core.errors import EmbedderError
from embedder.pipeline.fingerprint import model_tag

routes = Routes("operation")


@routes.add("GET", "/v1/stats", scope=Scope.READ)
async def stats(service: Service) -> answers.Stats:
    """Tell how every stage is doing.

    ``ingress`` is the one replica that answers, of which there may be several: each counts its
    own requests. All replicas of the other stages are asked, and where one does not answer within
    two seconds that is told in their place.
    """
    ask = service.replicas.query
    encoders, tokenizers, caches, indexes = await asyncio.gather(
        ask("Encoder", "stats"),
        ask("Tokenizer", "stats"),
        _of_each(service, service.cache_names),
        _of_each(service, service.index_names),
    )
    return answers.Stats(
        ingress=await _ingress(service),
        models=_models(service),
        encoders=answers.told(encoders, answers.encoder),
        tokenizers=answers.told(tokenizers, answers.tokenizer),
        caches=answers.told(caches, answers.CacheShard.model_validate),
        indexes=answers.told(indexes, answers.IndexShard.model_validate),
        collections=await _collections(service),
    )


@routes.add("GET", "/v1/cache", scope=Scope.READ)
async def caches(service: Service) -> answers.Caches:
    """Tell what the caches hold and how often they had what was looked up."""
    near, shards = await asyncio.gather(
        service.replicas.query("Ingress", "local_cache_stats"),
        _of_each(service, service.cache_names),
    )
    return answers.Caches(
        near=answers.told(near, answers.NearCache.model_validate),
        shards=answers.told(shards, answers.CacheShard.model_validate),
    )


@routes.add("DELETE", "/v1/cache", scope=Scope.ADMIN)
async def clear_caches(
    service: Service, context: RequestContext, model: Annotated[str | None, Query()] = None
) -> answers.Cleared:
    """Forget every vector in all caches, or those of one model as it is served now.

    What is being computed meanwhile is remembered all the same. Where a cache does not answer
    this fails, and may be tried again.
    """
    tell = service.replicas.broadcast
    tags = []
    if model is not None:
        tags = [model_tag(await service.model(model, deadline=context.deadline))]
    # The shards first: they would fill the near ones again.
    shards = await asyncio.gather(
        *(
            tell(name, "purge" if tags else "clear", context.deadline, *tags)
            for name in service.cache_names
        )
    )
    near = await tell("Ingress", "clear_local_cache", context.deadline, *tags)
    return answers.Cleared(cleared=sum(map(sum, (*shards, near))))


async def _of_each(service: Service, names: Sequence[str]) -> list[Any]:
    """Return what every one of these deployments says of itself, in their order."""
    told = await asyncio.gather(*(service.replicas.query(name, "stats") for name in names))
    return [one for replicas in told for one in replicas]


async def _collections(service: Service) -> list[answers.Collection] | Problem:
    """Return what is known of every collection, or why that is not known."""
    try:
        infos = await service.index.collections(time.monotonic() + replicas.QUERY_TIMEOUT_S)
    except EmbedderError as error:
        return replicas.problem("VectorIndex", error)
    return [answers.Collection.model_validate(info) for info in infos]


async def _ingress(service: Service) -> answers.Ingress:
    request_stats = service.request_stats
    return answers.Ingress(
        replica=service.replica,
        uptime_s=request_stats.uptime_s,
        in_flight=request_stats.in_flight,
        tasks=len(asyncio.all_tasks()),
        answers={str(status): count for status, count in sorted(request_stats.answers.items())},
        abandoned=request_stats.abandoned,
        flights=sum(connection.pipeline.in_flight for connection in _connections(service)),
        backlog=answers.backlog(service.backlog.stats),
        queues=[answers.Queue.model_validate(one) for one in service.queues],
        near_cache=answers.NearCache.model_validate(await service.local_cache_stats()),
        shards=[answers.FarCache.model_validate(state) for state in service.shared_cache.states],
    )


def _connections(service: Service) -> set[Connection]:
    """Return what requests go through; a name that moves to another model may share one."""
    return {state.serving for state in service.models() if state.serving is not None}


def _models(service: Service) -> list[answers.ServedModel]:
    return [_model(state) for state in service.models()]


def _model(state: ServedState[Connection]) -> answers.ServedModel:
    serving = state.serving
    here = None if serving is None else serving.colocated_encoder.stats
    return answers.ServedModel(
        name=state.name,
        state=state.state,
        problem=None if state.problem is None else answers.NOT_LOADED,
        waiting=0 if serving is None else len(serving.encoder.batcher),
        in_ingress=None if here is None else answers.Batches.model_validate(here),
    )

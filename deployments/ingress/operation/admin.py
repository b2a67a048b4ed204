"""Statistics of all replicas and operations on the caches, for operators.

A replica that does not answer is reported as a problem, and does not fail the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

from fastapi import Query

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.operation import admin_answers as answers
from deployments.ingress.operation import cache_answers
from deployments.ingress.routing.route import Routes
from deployments.ingress.service import replicas
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedState
from deployments.ingress.service.replicas import Problem
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope
from embedder.core.deadline import Deadline
from embedder.core.errors import EmbedderError
from embedder.pipeline.fingerprint import model_tag

routes = Routes("operation")


@routes.add("GET", "/v1/stats", scope=Scope.READ)
async def stats(service: Service) -> answers.Stats:
    """Return the statistics of every stage.

    ``ingress`` is the replica that answers; each ingress replica counts its own requests. Of the
    other stages, all replicas are queried; a stage without an answer within two seconds is reported
    as a problem.
    """
    query = service.replicas.query
    encoders, tokenizers, caches, indexes = await asyncio.gather(
        query("Encoder", "stats"),
        query("Tokenizer", "stats"),
        _of_each(service, service.cache_names),
        _of_each(service, service.index_names),
    )
    return answers.Stats(
        ingress=await _ingress(service),
        models=_models(service),
        encoders=answers.converted(encoders, answers.encoder),
        tokenizers=answers.converted(tokenizers, answers.tokenizer),
        caches=answers.converted(caches, cache_answers.CacheShard.model_validate),
        indexes=answers.converted(indexes, answers.IndexShard.model_validate),
        collections=await _collections(service),
    )


@routes.add("GET", "/v1/cache", scope=Scope.READ)
async def caches(service: Service) -> cache_answers.Caches:
    """Return the sizes and the hits of the caches."""
    near, shards = await asyncio.gather(
        service.replicas.query("Ingress", "local_cache_stats"),
        _of_each(service, service.cache_names),
    )
    return cache_answers.Caches(
        near=answers.converted(near, cache_answers.NearCache.model_validate),
        shards=answers.converted(shards, cache_answers.CacheShard.model_validate),
    )


@routes.add("DELETE", "/v1/cache", scope=Scope.ADMIN)
async def clear_caches(
    service: Service, context: RequestContext, model: Annotated[str | None, Query()] = None
) -> cache_answers.Cleared:
    """Clear all caches, or the entries of one model as it is served now.

    Vectors that are computed meanwhile are cached. If a cache does not answer, the request fails
    and can be retried.
    """
    broadcast = service.replicas.broadcast
    tags = []
    if model is not None:
        tags = [model_tag(await service.model(model, deadline=context.deadline))]
    # The shards first, because local caches would be filled from them again.
    shards = await asyncio.gather(
        *(
            broadcast(name, "purge" if tags else "clear", context.deadline, *tags)
            for name in service.cache_names
        )
    )
    near = await broadcast("Ingress", "clear_local_cache", context.deadline, *tags)
    return cache_answers.Cleared(cleared=sum(map(sum, (*shards, near))))


async def _of_each(service: Service, names: Sequence[str]) -> list[Any]:
    """Return the statistics of the replicas of these deployments, in order."""
    replies = await asyncio.gather(*(service.replicas.query(name, "stats") for name in names))
    return list(chain.from_iterable(replies))


async def _collections(service: Service) -> list[answers.Collection] | Problem:
    """Return every collection, or why the index does not answer."""
    try:
        infos = await service.index.collections(Deadline.after(replicas.QUERY_TIMEOUT_S))
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
        backlog=answers.backlog(service.admission.stats),
        queues=[answers.Queue.model_validate(one) for one in service.queues],
        near_cache=cache_answers.NearCache.model_validate(await service.local_cache_stats()),
        shards=[
            cache_answers.FarCache.model_validate(state) for state in service.caches.shared.states
        ],
    )


def _connections(service: Service) -> set[Connection]:
    """Return the distinct connections of the served models."""
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

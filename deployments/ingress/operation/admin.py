"""Statistics of all replicas and operations on the caches, for operators.

A replica that does not answer is reported as a problem, and does not fail the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi import Query

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.operation import answers
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
async def stats(service: Service, context: RequestContext) -> answers.Stats:
    """Return the statistics of every stage, and of the collections that the key includes.

    ``ingress`` is the replica that answers; each ingress replica counts its own requests. Of the
    other stages, all replicas are queried; a stage without an answer within two seconds is reported
    as a problem.
    """
    encoders, tokenizers, caches, indexes = await asyncio.gather(
        _encoders(service),
        service.replicas.query("Tokenizer", "stats"),
        _of_each(service, service.cache_names),
        _of_each(service, service.index_names),
    )
    return answers.Stats(
        ingress=await _ingress(service),
        models=[_model(state) for state in service.models.states()],
        pools=[pool.stats for pool in service.encoder_pools],
        encoders=encoders,
        tokenizers=answers.converted(tokenizers, answers.tokenizer),
        caches=answers.converted(caches, answers.cache_shard),
        indexes=indexes,
        collections=await _collections(service, context),
    )


@routes.add("GET", "/v1/cache", scope=Scope.READ)
async def caches(service: Service) -> answers.Caches:
    """Return the sizes and the hits of the caches."""
    local, shards = await asyncio.gather(
        service.replicas.query("Ingress", "local_cache_stats"),
        _of_each(service, service.cache_names),
    )
    return answers.Caches(
        local=answers.converted(local, answers.local_cache),
        shards=answers.converted(shards, answers.cache_shard),
    )


@routes.add("DELETE", "/v1/cache", scope=Scope.ADMIN)
async def clear_caches(
    service: Service, context: RequestContext, model: Annotated[str | None, Query()] = None
) -> answers.Cleared:
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
    local = await broadcast("Ingress", "clear_local_cache", context.deadline, *tags)
    return answers.Cleared(cleared=sum(map(sum, (*shards, local))))


async def _encoders(service: Service) -> list[answers.Encoder | Problem]:
    """Return the statistics of all encoders; a pool without replicas is not called."""
    names = [pool.deployment for pool in service.encoder_pools if pool.count_replicas()]
    replies = await asyncio.gather(*(service.replicas.query(name, "stats") for name in names))
    pools = zip(names, replies, strict=True)
    return [
        one
        for name, reply in pools
        for one in answers.converted(reply, partial(answers.encoder, name))
    ]


async def _of_each(service: Service, names: Sequence[str]) -> list[Any]:
    """Return the statistics of the replicas of these deployments, in order."""
    replies = await asyncio.gather(*(service.replicas.query(name, "stats") for name in names))
    return list(chain.from_iterable(replies))


async def _collections(
    service: Service, context: RequestContext
) -> list[answers.Collection] | Problem:
    """Return the collections that the key includes, or why the index does not answer."""
    try:
        index = service.index.reading("stale")  # also while the database is down
        infos = await index.collections(Deadline.after(replicas.QUERY_TIMEOUT_S))
    except EmbedderError as error:
        return replicas.problem("VectorIndex", error)
    return [
        answers.Collection.model_validate(info) for info in infos if context.may_reach(info.name)
    ]


async def _ingress(service: Service) -> answers.Ingress:
    request_stats = service.request_stats
    return answers.Ingress(
        replica=service.replica,
        uptime_s=request_stats.uptime_s,
        in_flight=request_stats.in_flight,
        tasks=len(asyncio.all_tasks()),
        answers={str(status): count for status, count in sorted(request_stats.answers.items())},
        abandoned=request_stats.abandoned,
        in_flight_inputs=sum(one.pipeline.in_flight for one in service.models.serving()),
        admission=service.admission.stats,
        queues=service.queues,
        local_cache=answers.local_cache(service.caches.local_stats()),
        shards=service.caches.shared.states,
    )


def _model(state: ServedState[Connection]) -> answers.ServedModel:
    serving = state.serving
    encoder = None if serving is None else serving.colocated_encoder
    return answers.ServedModel(
        name=state.name,
        state=state.state,
        problem=None if state.problem is None else answers.NOT_LOADED,
        waiting=0 if serving is None else serving.encoder.waiting,
        colocated=None if encoder is None else encoder.stats,
    )

"""The Ingress deployment: one service, over HTTP and over a handle."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from ray import serve
from starlette.types import ASGIApp

from deployments.ingress.asgi import build_asgi
from deployments.ingress.collections.search import search
from deployments.ingress.collections.search_bodies import SearchBody
from deployments.ingress.errors.responses import InvalidRequest
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.upgrades import decline_upgrades
from deployments.ingress.openai.chunked_inputs import ChunkedInputs
from deployments.ingress.service.collection_model import TextVectors
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.ingress.wire.chunking import Chunking
from deployments.ingress.wire.json_bodies import content_of
from deployments.logs.replica_log import configure_replica_log
from deployments.rpc.handle_client import Handle
from deployments.rpc.replica_name import own_deployment
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from deployments.tracing.tracer import service_tracer, traced_call
from embedder.chunking.request import ChunkEmbeddings, ChunkOptions
from embedder.chunking.texts import by_text
from embedder.core.outputs import OutputKind, Task, Tasks
from embedder.core.request import EmbedOptions
from embedder.core.tracing import serving
from embedder.core.types import Input, Rows, Vectors
from embedder.index.contract.points import CollectionInfo
from embedder.models.declared import declared_tasks
from embedder.pipeline.reservations import ReservationChanges


@serve.ingress()
class IngressReplica:
    """Answers HTTP requests; its handle has `embed`, `embed_chunks`, `score` and `search`."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        tokenizer: Handle,
        encoders: Mapping[str, Handle],
        caches: Mapping[str, Handle],
        indexes: Mapping[str, Handle],
    ) -> None:
        configure_replica_log(settings.logs)
        decline_upgrades()
        handles = Handles(tokenizer, encoders, caches, indexes, own_deployment("Ingress"))
        self._service = Service(settings, handles)
        self._service.keys.watch()
        self._tracer = service_tracer()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Change the served models without a restart; return before they are loaded."""
        # Serve sends the replica no calls meanwhile.
        tasks = await asyncio.to_thread(_declared_tasks, user_config)
        self._service.configure(user_config, tasks)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build the HTTP application; Serve calls this once the constructor has returned."""
        app = build_asgi(self._service)
        # Without this every full garbage collection traverses all modules, which takes 100 ms.
        gc.freeze()
        return app

    async def local_cache_stats(self) -> dict[str, Any]:
        """Return the counters of this replica's local cache."""
        return self._service.caches.local_stats()

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        """Clear the local cache, or the entries of one model; return their number."""
        return self._service.caches.clear_local(tag)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the load of this replica and of the stages it calls, for the controller."""
        return self._service.scaling_report()

    async def reservations(self) -> ReservationChanges:
        """Return all reservations, for a replica that has just started."""
        return self._service.admission.all_reservations()

    async def receive_reservations(self, replica: str, changes: ReservationChanges) -> None:
        """Apply the changes to reservations that another replica has sent."""
        self._service.reservations.receive(replica, changes)

    async def check_health(self) -> None:
        """Run the periodic maintenance; Serve calls this every few seconds."""
        self._service.run_maintenance()

    async def embed_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        options: EmbedOptions,
        model: str | None = None,
    ) -> TextVectors:
        """Embed texts of a collection with its model, or with the one of this name.

        Raises:
            EmbedderError: as `deployments.ingress.service.service.Service.embed_for`.
        """
        self._service.handle_calls += 1
        deadline = self._service.deadline(options.timeout_s)
        return await self._service.embed_for(collection, texts, options, deadline, model=model)

    async def embed(
        self,
        inputs: str | Sequence[Input],
        options: EmbedOptions | None = None,
        model: str | None = None,
    ) -> Vectors:
        """Embed inputs: return float32[n, width], one row for each input, in order.

        Raises:
            EmbedderError: as `embedder.pipeline.pipeline.Pipeline.embed`.
        """
        self._service.handle_calls += 1
        rows: Sequence[Input] = [inputs] if isinstance(inputs, str) else inputs
        options = options or EmbedOptions()
        deadline = self._service.deadline(options.timeout_s)
        with serving(traced_call(self._tracer)):
            answer = await self._service.embed(rows, options, deadline, model=model)
        return answer.vectors

    async def embed_chunks(
        self,
        texts: str | Sequence[str],
        chunking: ChunkOptions | None = None,
        options: EmbedOptions | None = None,
        model: str | None = None,
    ) -> list[ChunkEmbeddings]:
        """Split texts into chunks: return the chunks of each text, in order, and their vectors.

        ``chunking`` of None has the defaults of HTTP.

        Raises:
            EmbedderError: as `embed`, or the chunking is invalid.
        """
        self._service.handle_calls += 1
        rows: Sequence[Input] = [texts] if isinstance(texts, str) else texts
        options = options or EmbedOptions()
        deadline = self._service.deadline(options.timeout_s)
        how = Chunking() if chunking is None else Chunking.model_construct(**asdict(chunking))
        with serving(traced_call(self._tracer)):
            connection = await self._service.models.get(model, deadline, task=Task.EMBED)
            limits = self._service.settings.limits
            given = await ChunkedInputs.of(
                rows, how, options, connection, limits=limits, deadline=deadline
            )
            with given.naming():
                answer = await self._service.embed_by(connection, given.inputs, options, deadline)
        return by_text(given.chunks, answer.vectors)

    async def score(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions | None = None,
        model: str | None = None,
        raw: bool = False,
    ) -> Vectors:
        """Score texts or pairs: return float32[n, labels], one row for each input, in order.

        ``raw`` leaves out the activation that the model's files name.

        Raises:
            EmbedderError: as `embedder.pipeline.pipeline.Pipeline.score`.
        """
        self._service.handle_calls += 1
        options = options or EmbedOptions()
        deadline = self._service.deadline(options.timeout_s)
        with serving(traced_call(self._tracer)):
            answer = await self._service.score(inputs, options, deadline, model=model, raw=raw)
        return answer.scores

    async def outputs(
        self,
        inputs: Sequence[Input],
        kinds: Collection[OutputKind],
        options: EmbedOptions | None = None,
        model: str | None = None,
    ) -> Mapping[OutputKind, Rows]:
        """Compute results of several kinds: return the rows of each, one for each input, in order.

        Raises:
            EmbedderError: as `embedder.pipeline.pipeline.Pipeline.outputs`.
        """
        self._service.handle_calls += 1
        options = options or EmbedOptions()
        deadline = self._service.deadline(options.timeout_s)
        with serving(traced_call(self._tracer)):
            connection = await self._service.connection(model, kinds, deadline)
            answer = await self._service.outputs_of(connection, inputs, kinds, options, deadline)
        return answer.rows

    async def search(self, collection: str, body: Mapping[str, Any]) -> bytes:
        """Search as ``POST /v1/collections/{name}/search`` does: return the JSON of its answer.

        Raises:
            InvalidInput: the body has other fields than the route takes, or wrong values.
            EmbedderError: as that route.
        """
        self._service.handle_calls += 1
        try:
            asked = SearchBody.model_validate(body)
        except ValidationError as error:
            raise InvalidRequest(error.errors()[0]).as_input_error() from None
        context = RequestContext(self._service.deadline(None))
        with serving(traced_call(self._tracer)):
            return content_of(await search(collection, asked, self._service, context))


def _declared_tasks(user_config: Mapping[str, Any]) -> list[Tasks | None]:
    """Return the tasks of each listed model by its files; of a wrong list, none."""
    try:
        models = ModelList.model_validate(user_config).models
    except ValidationError:
        return []  # the service logs the mistake
    return [declared_tasks(model) for model in models]

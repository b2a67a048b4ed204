"""Connects an ingress to a model: loads it, places and tests its stages, builds its pipeline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from deployments.encoder.colocated import ColocatedEncoder, load_unmeasured
from deployments.encoder.pooled import PooledEncoder
from deployments.encoder.remote_pool import RemotePool
from deployments.ingress.service.caches import IngressCaches
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from deployments.tokenizer.client import RemoteTokenizer
from deployments.tokenizer.colocated import ColocatedTokenizer
from embedder.core.deadline import Deadline
from embedder.core.outputs import Tasks, tasks_of
from embedder.core.types import ModelInfo, Truncate
from embedder.index.contract.points import StoredModel
from embedder.measurements.pipeline import PipelineStats
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.settings.model import ModelSettings

StageT = TypeVar("StageT")

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """The pipeline and the stages of one loaded model.

    ``tasks`` are what the model can do, and ``stored`` is what a collection records of it. A
    colocated stage is None if every call goes to its deployment.
    """

    info: ModelInfo
    tasks: Tasks
    stored: StoredModel
    pipeline: Pipeline
    tokenizer: RemoteTokenizer
    encoder: PooledEncoder
    colocated_tokenizer: ColocatedTokenizer | None
    colocated_encoder: ColocatedEncoder | None


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections that share caches, admission control and statistics of one ingress."""

    settings: ServeSettings
    tokenizer: Handle
    pools: Sequence[RemotePool]
    caches: IngressCaches
    admission: AdmissionControl
    stats: PipelineStats

    async def __call__(self, model: ModelSettings) -> Connection:
        """Have a model loaded, and return its connection once both stages have answered."""
        settings = self.settings
        deadline = Deadline.after(settings.load_timeout_s)
        encoder = PooledEncoder(self.pools, settings, model)
        load = partial(load_unmeasured, settings, model) if self._encodes_here(model) else None
        # This process loads the model while the replicas do.
        info, loaded = await asyncio.gather(encoder.connect(deadline), _colocated(load))
        tokenizer = RemoteTokenizer(self.tokenizer, settings.tokenizer, model, settings.batching)
        load_tokenizer = None
        if settings.tokenizer.placement != "remote":
            load_tokenizer = partial(ColocatedTokenizer.load, tokenizer, settings, model, info)
        use_loaded = None
        if loaded is not None and info.device == "cpu":
            use_loaded = partial(ColocatedEncoder.of, encoder, loaded, settings, info)
        colocated_tokenizer, colocated_encoder = await asyncio.gather(
            _colocated(load_tokenizer), _colocated(use_loaded)
        )
        # Not through the pipeline, where the cache or a colocated stage may answer.
        await tokenizer.tokenize(["ready"], truncate=Truncate.END, deadline=deadline)
        self.caches.announce(info)
        stages = Stages(
            tokenizer=colocated_tokenizer or tokenizer,
            encoder=colocated_encoder or encoder,
            local_cache=self.caches.local,
            shared_cache=self.caches.shared,
            stats=self.stats,
        )
        return Connection(
            info,
            tasks_of(info.outputs, info.labels),
            StoredModel(info.name, info.revision, info.digest, info.pooling),
            self._pipeline(info, stages),
            tokenizer,
            encoder,
            colocated_tokenizer,
            colocated_encoder,
        )

    def _encodes_here(self, model: ModelSettings) -> bool:
        """Return whether this ingress encodes with a model, unless its replicas have a GPU."""
        encoder = self.settings.encoder
        is_local = encoder.placement != "remote" and encoder.hardware != "gpu"
        return is_local and model.pinned and not encoder.pools

    def _pipeline(self, info: ModelInfo, stages: Stages) -> Pipeline:
        limits = self.settings.limits
        return Pipeline(
            info,
            stages,
            limits=limits,
            computation_timeout_s=limits.request_timeout_s,
            admission=self.admission,
        )


async def _colocated(load: Callable[[], StageT] | None) -> StageT | None:
    """Load a colocated stage in a thread; return None if there is none.

    Return None also if the stage cannot be loaded, because its deployment does the same work.
    """
    if load is None:
        return None
    try:
        return await asyncio.to_thread(load)
    except Exception as error:  # noqa: BLE001 - the deployment can do the same work
        logger.warning("a stage cannot be colocated, its deployment gets all calls: %r", error)
        return None

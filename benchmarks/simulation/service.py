"""The simulated service: clients, ingresses, tokenizers and encoder pools on one clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.simulation.clients import Clients, ClientSettings
from benchmarks.simulation.costs import DeviceCosts
from benchmarks.simulation.events import Events
from benchmarks.simulation.exchange import ReservationExchange
from benchmarks.simulation.figures import Log
from benchmarks.simulation.ingress import Ingress, IngressSettings
from benchmarks.simulation.pool import Pool, ReplicaSettings
from benchmarks.simulation.replica_set import ReplicaSet
from benchmarks.simulation.routers import OnlyPool, ReportedLoads, Router
from benchmarks.simulation.stage_client import CallSettings, StageClient
from benchmarks.simulation.stages import IngressStages
from deployments.encoder.client import WORTH_TOKENS
from deployments.settings.stages import StageSettings
from embedder.batching.packing import Budget, Slots

MAX_BATCH_TOKENS = 2048
"""The budget of a CPU before it is measured."""

CANDIDATES = 2
"""Replicas that Serve's default router compares for a call."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool of replicas, and how ingresses call it."""

    name: str
    replicas: int
    costs: DeviceCosts
    max_batch_tokens: int = MAX_BATCH_TOKENS
    max_items: int = 1024
    slots: int = 1
    worth_tokens: int = WORTH_TOKENS
    calls_per_replica: int = 1
    candidates: int = CANDIDATES

    def replica(self) -> ReplicaSettings:
        """Return the settings of one replica."""
        return ReplicaSettings(self.costs, self._budget(), Slots(self.slots))

    def calls(self) -> CallSettings:
        """Return how an ingress calls it."""
        stage = StageSettings(calls_per_replica=self.calls_per_replica)
        return CallSettings(self._budget(), self.worth_tokens, stage, self.candidates)

    def _budget(self) -> Budget:
        return Budget(self.max_batch_tokens, self.max_items)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """A service and its clients.

    Without ``tokenizer`` the ingresses tokenize themselves. Without ``router`` pools are chosen as
    the product does.
    """

    clients: ClientSettings
    ingress: IngressSettings
    encoders: tuple[PoolSettings, ...]
    ingresses: int = 1
    ingress_start_s: float = 10.0
    tokenizer: PoolSettings | None = None
    router: Callable[[Sequence[StageClient]], Router] | None = None
    seed: int = 0


@dataclass(eq=False)
class SimulatedService:
    """The parts of one simulation; `run` it once."""

    settings: ServiceSettings
    events: Events = field(default_factory=Events)

    def __post_init__(self) -> None:
        settings = self.settings
        self.random = Random(settings.seed)
        self.tokenizer = self._pool(settings.tokenizer) if settings.tokenizer else None
        self.encoders = [self._pool(stage) for stage in settings.encoders]
        self.exchange = ReservationExchange(self.events, lambda: self.ingresses.running)
        self.ingresses: ReplicaSet[Ingress] = ReplicaSet(
            "Ingress",
            self._ingress,
            settings.ingress_start_s,
            self.events,
            changed=self.exchange.share,
        )
        self.clients = Clients(
            settings.clients, self.events, lambda: self.ingresses.running, settings.seed
        )
        self.ingresses.scale(settings.ingresses, at_once=True)

    def run(self) -> Log:
        """Run until every request has ended, and return their log.

        Raises:
            RuntimeError: a request has not ended, or has ended twice.
        """
        self.events.run()
        log = Log(self.clients.requests)
        if not log.outcome.all():
            raise RuntimeError(f"{int((log.outcome == 0).sum())} requests have not ended")
        return log

    def _pool(self, stage: PoolSettings) -> Pool:
        hop_s = self.settings.ingress.costs.hop_s
        pool = Pool(stage.name, stage.replica(), self.events, self.random, hop_s)
        pool.scale(stage.replicas, at_once=True)
        return pool

    def _ingress(self, name: str) -> Ingress:
        return Ingress(name, self.settings.ingress, self.events, self._stages, self.clients.refused)

    def _stages(self, ingress: Ingress) -> IngressStages:
        settings = self.settings
        tokenizer = None
        if self.tokenizer is not None and settings.tokenizer is not None:
            tokenizer = StageClient(ingress, self.tokenizer, settings.tokenizer.calls())
        encoders = [
            StageClient(ingress, pool, stage.calls())
            for pool, stage in zip(self.encoders, settings.encoders, strict=True)
        ]
        router = settings.router or (OnlyPool if len(encoders) == 1 else ReportedLoads)
        return IngressStages(tokenizer, encoders, router(encoders))

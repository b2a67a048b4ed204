"""Several ingresses choose between two pools by reports that are old when they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Calibration, IngressCosts
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.routers import ReportedLoads, Router, TrueLoads
from benchmarks.simulation.samples import Samples
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from benchmarks.simulation.stage_client import StageClient

SAMPLE_S = 0.02
ROUTERS: dict[str, Callable[[Sequence[StageClient]], Router]] = {
    "reported": ReportedLoads,
    "true": TrueLoads,
}
"""The product's router, and the same rule with perfect knowledge."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Two pools: ``fast`` replicas with ``speedup`` times the rate of the ``slow`` ones.

    ``load`` is the share of the capacity of both that is offered.
    """

    calibration: Calibration
    fast: int
    slow: int
    speedup: float
    load: float
    seconds: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The choices of one router with a number of ingresses.

    ``fast_share`` of the tokens went to the fast pool, whose share of the capacity is
    ``fast_capacity``. ``gap_ms`` is the mean difference between the times in which the pools would
    have done their work, ``turns_per_s`` how often the pool with less work changed.
    """

    router: str
    ingresses: int
    figures: Figures
    fast_share: float
    fast_capacity: float
    gap_ms: float
    turns_per_s: float


def run(pools: Pools, router: str, ingresses: int) -> Choice:
    """Simulate one router."""
    settings = _settings(pools, router, ingresses)
    service = SimulatedService(settings)
    samples = Samples(service, SAMPLE_S, pools.seconds)
    log = service.run()
    rates = np.array([one.replicas * one.costs.tokens_per_s for one in settings.encoders])
    gaps_s = np.diff(samples.backlog_tokens / rates, axis=1)[:, 0]
    sides = np.sign(gaps_s[gaps_s != 0])
    tokens = [pool.submitted_tokens for pool in service.encoders]
    return Choice(
        router=router,
        ingresses=ingresses,
        figures=log.figures(0.0, pools.seconds),
        fast_share=tokens[0] / sum(tokens),
        fast_capacity=float(rates[0] / rates.sum()),
        gap_ms=float(np.abs(gaps_s).mean()) * 1000,
        turns_per_s=float((np.diff(sides) != 0).sum()) / pools.seconds,
    )


def _settings(pools: Pools, router: str, ingresses: int) -> ServiceSettings:
    slow, tokens = pools.calibration.encoder, np.array(pools.calibration.tokens)
    # Ingresses cost nothing: the pools alone are compared.
    ingress = IngressCosts(0.0, 0.0, pools.calibration.ingress.hop_s)
    fast = replace(slow, tokens_per_s=pools.speedup * slow.tokens_per_s)
    capacity = pools.fast * fast.tokens_per_s + pools.slow * slow.tokens_per_s
    rate_per_s = pools.load * capacity / float(tokens.mean())
    return ServiceSettings(
        ClientSettings(Load.constant(rate_per_s, pools.seconds), tokens),
        IngressSettings(ingress, None),
        (
            PoolSettings("Encoder-fast", pools.fast, fast),
            PoolSettings("Encoder-slow", pools.slow, slow),
        ),
        ingresses=ingresses,
        router=ROUTERS[router],
        seed=pools.seed,
    )

"""Services of growing size: encoders, ingresses and load in proportion."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Calibration
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from embedder.settings.model import LimitSettings

GROUP_SIZE = 64
"""The most requests that one event moves."""

BATCHES = 2
"""Batches in flight of a replica, and calls of an ingress to it, as on a GPU."""

SETTLING = 0.2
"""Share of the time that is not counted, while queues and rates are still unknown."""

RETURNS = 2


@dataclass(frozen=True, slots=True)
class Growth:
    """``rate_per_s`` requests and ``ingresses`` are for each encoder replica.

    What arrives at an ingress within ``tick_s`` is handled together: fewer events, and answers that
    come up to three ticks later.
    """

    calibration: Calibration
    rate_per_s: float
    ingresses: float
    seconds: float
    tick_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How a service of one size did.

    ``ingress_busy`` and ``encoder_busy`` are the shares of the time for which the replicas of a
    stage computed. ``of_linear`` is the answers per replica in parts of those of the smallest size.
    """

    replicas: int
    ingresses: int
    figures: Figures
    ingress_busy: float
    encoder_busy: float
    texts_per_call: float
    events: int
    cpu_s: float
    of_linear: float = 1.0


def run(growth: Growth, replicas: int) -> Size:
    """Simulate a service with a number of encoder replicas."""
    began_s = time.process_time()
    service = SimulatedService(_settings(growth, replicas))
    service.events.run(growth.seconds)
    ingresses, encoders = service.ingresses.all, service.encoders[0].all
    ingress_s = float(np.mean([one.busy_s for one in ingresses]))
    encoder_s = float(np.mean([one.busy_s for one in encoders]))
    log = service.run()
    calls = sum(client.calls for one in ingresses for client in one.stages.encoders)
    return Size(
        replicas=replicas,
        ingresses=len(ingresses),
        figures=log.figures(SETTLING * growth.seconds, growth.seconds),
        ingress_busy=ingress_s / growth.seconds,
        encoder_busy=encoder_s / growth.seconds,
        texts_per_call=len(log.outcome) / max(calls, 1),
        events=service.events.handled,
        cpu_s=time.process_time() - began_s,
    )


def _settings(growth: Growth, replicas: int) -> ServiceSettings:
    machine = growth.calibration
    load = Load.constant(growth.rate_per_s * replicas, growth.seconds)
    encoder = PoolSettings(
        "Encoder",
        replicas,
        machine.encoder,
        machine.max_batch_tokens,
        slots=BATCHES,
        calls_per_replica=BATCHES,
    )
    return ServiceSettings(
        ClientSettings(load, np.array(machine.tokens), returns=RETURNS),
        IngressSettings(
            machine.ingress, LimitSettings(), group_size=GROUP_SIZE, tick_s=growth.tick_s
        ),
        (encoder,),
        ingresses=max(1, round(growth.ingresses * replicas)),
        seed=growth.seed,
    )

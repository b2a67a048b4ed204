"""More requests than the service can answer, at one ingress or several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Calibration, IngressCosts
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from embedder.settings.model import LimitSettings

RETURNS = 5

MESSAGE_S = 0.001
"""The cost of another ingress's message that embedder/pipeline/reservations.py assumes."""


@dataclass(frozen=True, slots=True)
class Overload:
    """Sends ``factor`` times the load that ``replicas`` encoders can do with full batches."""

    calibration: Calibration
    replicas: int
    factor: float
    seconds: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """How ingresses admitted: ``admitted_returns`` is the share of returns that were admitted.

    ``of_capacity`` is the answers per second in parts of the capacity. Each ingress receives
    ``messages_per_s`` of the others.
    """

    ingresses: int
    returns_to: str
    figures: Figures
    of_capacity: float
    admitted_returns: float
    messages_per_s: float


def run(overload: Overload, ingresses: int, *, same_ingress: bool) -> Admission:
    """Simulate one number of ingresses, and clients that return to any or to the same."""
    # Only messages cost anything, so that the number of ingresses changes nothing but admission.
    machine = overload.calibration
    ingress = IngressCosts(0.0, 0.0, machine.ingress.hop_s, message_s=MESSAGE_S)
    encoder = PoolSettings("Encoder", overload.replicas, machine.encoder, machine.max_batch_tokens)
    full_per_s = encoder.replica().full_tokens_per_s
    capacity = overload.replicas * full_per_s / float(np.mean(machine.tokens))
    clients = ClientSettings(
        Load.constant(overload.factor * capacity, overload.seconds),
        np.array(machine.tokens),
        returns=RETURNS,
        same_ingress=same_ingress,
    )
    service = SimulatedService(
        ServiceSettings(
            clients,
            IngressSettings(ingress, LimitSettings()),
            (encoder,),
            ingresses=ingresses,
            seed=overload.seed,
        )
    )
    log = service.run()
    figures = log.figures(overload.seconds / 5, overload.seconds)
    returns = int((log.attempts - 1).sum())
    admitted = int(((log.attempts > 1) & (log.outcome == 1)).sum())
    return Admission(
        ingresses=ingresses,
        returns_to="the same" if same_ingress else "any",
        figures=figures,
        of_capacity=figures.answered_per_s / capacity,
        admitted_returns=admitted / max(returns, 1),
        messages_per_s=service.exchange.messages / overload.seconds / ingresses,
    )

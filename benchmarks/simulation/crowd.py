"""More requests than the service can answer, at one ingress or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Costs, IngressCosts
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from embedder.settings.model import LimitSettings

RETURNS = 5

MESSAGE_S = 0.001
"""What the message of another ingress costs; embedder/pipeline/reservations.py counts on it."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """``factor`` times what ``replicas`` encoders can do with full batches."""

    costs: Costs
    tokens: Sequence[int]
    max_batch_tokens: int
    replicas: int
    factor: float
    seconds: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Refusals:
    """What admission did: ``admitted_returns`` is the share of returns that were admitted.

    ``of_capacity`` is the answers per second in parts of the capacity. Each ingress receives
    ``messages_per_s`` of the others.
    """

    ingresses: int
    returns_to: str
    figures: Figures
    of_capacity: float
    admitted_returns: float
    messages_per_s: float


def run(crowd: Crowd, ingresses: int, *, same_ingress: bool) -> Refusals:
    """Simulate one number of ingresses, and clients that return to any or to the same."""
    # Only messages cost anything, so that the number of ingresses changes nothing but admission.
    ingress = IngressCosts(0.0, 0.0, crowd.costs.ingress.hop_s, message_s=MESSAGE_S)
    encoder = PoolSettings("Encoder", crowd.replicas, crowd.costs.encoder, crowd.max_batch_tokens)
    full_per_s = encoder.replica().full_tokens_per_s
    capacity = crowd.replicas * full_per_s / float(np.mean(crowd.tokens))
    clients = ClientSettings(
        Load.constant(crowd.factor * capacity, crowd.seconds),
        np.array(crowd.tokens),
        returns=RETURNS,
        same_ingress=same_ingress,
    )
    service = SimulatedService(
        ServiceSettings(
            clients,
            IngressSettings(ingress, LimitSettings()),
            (encoder,),
            ingresses=ingresses,
            seed=crowd.seed,
        )
    )
    log = service.run()
    figures = log.figures(crowd.seconds / 5, crowd.seconds)
    returns = int((log.attempts - 1).sum())
    admitted = int(((log.attempts > 1) & (log.outcome == 1)).sum())
    return Refusals(
        ingresses=ingresses,
        returns_to="the same" if same_ingress else "any",
        figures=figures,
        of_capacity=figures.answered_per_s / capacity,
        admitted_returns=admitted / max(returns, 1),
        messages_per_s=service.exchange.messages / crowd.seconds / ingresses,
    )

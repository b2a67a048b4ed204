"""A load step from 1× to 5× and back, and how the service scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.autoscaler import Autoscaler
from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.figures import Log
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.samples import Samples
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from deployments.autoscaling.load import ScalingLimits
from embedder.settings.model import LimitSettings

SAMPLE_S = 0.25
RETURNS = 5
"""How often a client returns before it gives up."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of ``factor`` times ``rate_per_s``; each of the three phases takes ``phase_s``."""

    costs: Costs
    tokens: Sequence[int]
    rate_per_s: float
    factor: float
    phase_s: float
    limits: ScalingLimits
    ingress_limits: ScalingLimits
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reaction:
    """How one stage reacted.

    ``decided_s`` and ``ready_s`` count from the step until the target and the running replicas
    first reached ``needed``, the replicas that the higher load needs at the target utilization.
    ``overshoot`` is by how many replicas the largest target exceeds it. ``turns`` counts the
    changes of direction: 1 is one rise and one fall.
    """

    stage: str
    needed: int
    decided_s: float | None
    ready_s: float | None
    overshoot: int
    turns: int
    settled_s: float | None


@dataclass(frozen=True, slots=True)
class Stepped:
    """What came of a step."""

    step: Step
    log: Log
    samples: Samples
    refusals: list[tuple[float, int]]
    histories: dict[str, list[tuple[float, int, int]]]
    decisions: list[str]
    reactions: list[Reaction]


def run(step: Step) -> Stepped:
    """Simulate a step."""
    load = Load.step(step.rate_per_s, step.factor, step.phase_s)
    service = SimulatedService(
        ServiceSettings(
            ClientSettings(load, np.array(step.tokens), returns=RETURNS),
            IngressSettings(step.costs.ingress, LimitSettings()),
            (PoolSettings("Encoder", step.limits.min_replicas, step.costs.encoder),),
            ingresses=step.ingress_limits.min_replicas,
            seed=step.seed,
        )
    )
    limits = {"Encoder": step.limits, "Ingress": step.ingress_limits}
    scaler = Autoscaler(service, limits, load.seconds)
    samples = Samples(service, SAMPLE_S, load.seconds)
    log = service.run()
    histories = {
        "Encoder": service.encoders[0].history,
        "Ingress": service.ingresses.history,
    }
    decisions = [
        f"{at:7.1f} s  {name:8} {state.target:4}  {state.reason.value}, {state.needed:.2f} needed"
        for at, name, state in scaler.decisions
    ]
    needs = {name: _needed(scaler, name, step.phase_s) for name in limits}
    reactions = [reaction(name, histories[name], needs[name], step.phase_s) for name in limits]
    return Stepped(step, log, samples, service.clients.refusals, histories, decisions, reactions)


def _needed(scaler: Autoscaler, name: str, phase_s: float) -> int:
    """Return what the policy needed at the end of the higher phase, in whole replicas."""
    needed = [need for at, stage, need in scaler.needs if stage == name and at < 2 * phase_s]
    return max(1, int(np.ceil(np.median(needed[-50:]) - 0.01)))


def reaction(
    stage: str, history: Sequence[tuple[float, int, int]], needed: int, phase_s: float
) -> Reaction:
    """Return how a stage reacted to a step at ``phase_s`` and back at twice of it."""
    decided = [at for at, _, target in history if at >= phase_s and target >= needed]
    ready = [at for at, running, _ in history if at >= phase_s and running >= needed]
    targets = [target for _, _, target in history]
    moves = np.sign(np.diff(targets))
    moves = moves[moves != 0]
    final = targets[-1]
    settled = [at for at, _, target in history if at >= 2 * phase_s and target == final]
    return Reaction(
        stage=stage,
        needed=needed,
        decided_s=decided[0] - phase_s if decided else None,
        ready_s=ready[0] - phase_s if ready else None,
        overshoot=max(targets) - needed,
        turns=int((np.diff(moves) != 0).sum()),
        settled_s=settled[0] - 2 * phase_s if settled else None,
    )

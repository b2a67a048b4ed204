"""A load step from 1× to 5× and back, and how the service scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulation.autoscaler import Autoscaler
from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Calibration, DeviceCosts
from benchmarks.simulation.figures import Log
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.replica_set import ReplicaSet
from benchmarks.simulation.samples import Samples
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from deployments.autoscaling.load import ScalingLimits
from deployments.tokenizer.client import CALL_CHARACTERS, WORTH_CHARACTERS
from embedder.settings.model import LimitSettings

SAMPLE_S = 0.25
TOKENIZER = DeviceCosts(tokens_per_s=200_000.0, batch_s=0.0005)
"""About the costs of a tokenizer replica on one core."""

CHARACTERS_PER_TOKEN = 4
RETURNS = 5
"""How often a client returns before it gives up."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of ``factor`` times ``rate_per_s``; each of the three phases takes ``phase_s``.

    With ``tokenizer`` the ingresses call tokenizer replicas for every request. ``others`` limits
    all stages but the encoder.
    """

    calibration: Calibration
    rate_per_s: float
    factor: float
    phase_s: float
    limits: ScalingLimits
    others: ScalingLimits
    tokenizer: bool = False
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
class StepResult:
    """The requests, the replicas and the decisions of a step."""

    step: Step
    log: Log
    samples: Samples
    refusals: list[tuple[float, int]]
    histories: dict[str, list[tuple[float, int, int]]]
    decisions: list[str]
    reactions: list[Reaction]


def run(step: Step) -> StepResult:
    """Simulate a step."""
    load = Load.step(step.rate_per_s, step.factor, step.phase_s)
    service = SimulatedService(_settings(step, load))
    stages: list[ReplicaSet[Any]] = [*service.encoders, service.ingresses]
    if service.tokenizer is not None:
        stages.append(service.tokenizer)
    limits = {stage.name: step.others for stage in stages} | {"Encoder": step.limits}
    scaler = Autoscaler(service, limits, load.seconds)
    samples = Samples(service, SAMPLE_S, load.seconds)
    log = service.run()
    histories = {stage.name: stage.history for stage in stages}
    decisions = [
        f"{at:7.1f} s  {name:8} {state.target:4}  {state.reason.value}, {state.needed:.2f} needed"
        for at, name, state in scaler.decisions
    ]
    reactions = [
        reaction(name, history, _needed(scaler, name, step.phase_s), step.phase_s)
        for name, history in histories.items()
    ]
    return StepResult(step, log, samples, service.clients.refusals, histories, decisions, reactions)


def _settings(step: Step, load: Load) -> ServiceSettings:
    encoder = PoolSettings("Encoder", step.limits.min_replicas, step.calibration.encoder)
    tokenizer = PoolSettings(
        "Tokenizer",
        step.others.min_replicas,
        TOKENIZER,
        max_batch_tokens=CALL_CHARACTERS // CHARACTERS_PER_TOKEN,
        worth_tokens=WORTH_CHARACTERS // CHARACTERS_PER_TOKEN,
    )
    return ServiceSettings(
        ClientSettings(load, np.array(step.calibration.tokens), returns=RETURNS),
        IngressSettings(step.calibration.ingress, LimitSettings()),
        (encoder,),
        ingresses=step.others.min_replicas,
        tokenizer=tokenizer if step.tokenizer else None,
        seed=step.seed,
    )


def _needed(scaler: Autoscaler, name: str, phase_s: float) -> int:
    """Return the need of the policy at the end of the higher phase, in whole replicas."""
    needed = [need for at, stage, need in scaler.needs if stage == name and at < 2 * phase_s]
    return max(1, int(np.ceil(np.median(needed[-50:]) - 0.01)))


def reaction(
    stage: str, history: Sequence[tuple[float, int, int]], needed: int, phase_s: float
) -> Reaction:
    """Return how a stage reacted to a step at ``phase_s`` and back at twice of it."""
    # A stage that has enough before the step needs no time.
    decided = [at for at, target in _since(history, phase_s, column=2) if target >= needed]
    ready = [at for at, running in _since(history, phase_s, column=1) if running >= needed]
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


def _since(
    history: Sequence[tuple[float, int, int]], since_s: float, *, column: int
) -> list[tuple[float, int]]:
    """Return (seconds, value) of a column from ``since_s`` on, with the value that holds then."""
    ends = [*(at for at, _, _ in history[1:]), float("inf")]
    return [
        (max(entry[0], since_s), int(entry[column]))
        for entry, end in zip(history, ends, strict=True)
        if end > since_s
    ]

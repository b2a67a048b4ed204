"""The product's scaling policy, fed by reports of the simulated replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.simulation.pool import Pool
from benchmarks.simulation.replica_set import ReplicaSet
from benchmarks.simulation.service import SimulatedService
from deployments.autoscaling.load import ScalingLimits, StageLoad, StageState
from deployments.autoscaling.policy import decide

REPORT_S = 1.0
"""Seconds between two reports of a replica."""

DECIDE_S = 0.1
"""Seconds between two calls of the policy by Serve's controller."""


@dataclass(slots=True)
class _Counters:
    """The work that has arrived for a stage until a report."""

    at_s: float = 0.0
    arrived: float = 0.0


class Autoscaler:
    """Sizes the ingresses, the tokenizer and the encoder pools of a service until ``until_s``.

    The policy sees the last reports. ``decisions`` has (seconds, stage, state) whenever a
    target changed, and ``needs`` (seconds, stage, replicas) each time the policy ran.
    """

    def __init__(
        self, service: SimulatedService, limits: Mapping[str, ScalingLimits], until_s: float
    ) -> None:
        self.decisions: list[tuple[float, str, StageState]] = []
        self.needs: list[tuple[float, str, float]] = []
        self._service = service
        self._limits = limits
        self._until_s = until_s
        self._stages: dict[str, ReplicaSet[Any]] = {}
        self._reports: dict[str, StageLoad] = {}
        self._states: dict[str, StageState] = {}
        self._counters: dict[str, _Counters] = {}
        sets: list[ReplicaSet[Any]] = [service.ingresses, *service.encoders]
        if service.tokenizer is not None:
            sets.append(service.tokenizer)
        events = service.events
        for number, replicas in enumerate(sets):
            if replicas.name in limits:
                self._stages[replicas.name] = replicas
                # The stages report at different moments.
                first_s = REPORT_S * (1 + number / len(sets))
                events.at(first_s, self._report, replicas.name)
        events.at(DECIDE_S, self._decide)

    def _report(self, name: str) -> None:
        now = self._service.events.now
        load, arrived = self._measured(name)
        before = self._counters.get(name, _Counters())
        elapsed_s = max(now - before.at_s, 1e-9)
        arriving = (arrived - before.arrived) / elapsed_s
        self._counters[name] = _Counters(now, arrived)
        self._reports[name] = replace(load, arriving_per_s=arriving)
        self._again(REPORT_S, self._report, name)

    def _measured(self, name: str) -> tuple[StageLoad, float]:
        """Return the load of a stage without its arrivals, and the work that ever arrived."""
        ingresses = self._service.ingresses
        if name == ingresses.name:
            busy_s = sum(ingress.busy_s for ingress in ingresses.all)
            handled = sum(ingress.handled for ingress in ingresses.all)
            waiting = float(sum(ingress.waiting for ingress in ingresses.running))
            return (
                StageLoad(len(ingresses.running), 0.0, waiting, _ratio(handled / 2, busy_s)),
                float(sum(ingress.arrived for ingress in ingresses.all)),
            )
        pool = self._pool(name)
        rates = [rate for one in pool.running if (rate := one.meter.tokens_per_s) > 0]
        load = StageLoad(
            len(pool.running),
            queued=float(pool.backlog_tokens),
            replica_per_s=_ratio(sum(rates), len(rates)),
            initial_per_s=pool.settings.full_tokens_per_s,
        )
        refused = 0
        if pool in (self._service.tokenizer, self._service.encoders[0]):
            controls = [ingress.admission for ingress in ingresses.all]
            refused = sum(one.refused_tokens - one.returned_tokens for one in controls)
        return load, float(pool.submitted_tokens + refused)

    def _pool(self, name: str) -> Pool:
        pools = [*self._service.encoders, self._service.tokenizer]
        return next(pool for pool in pools if pool is not None and pool.name == name)

    def _decide(self, _: object) -> None:
        now = self._service.events.now
        loads = {
            name: replace(report, running=len(self._stages[name].running))
            for name, report in self._reports.items()
        }
        before = {
            name: replace(self._states.get(name, StageState(0)), target=self._stages[name].target)
            for name in loads
        }
        self._states = decide(loads, self._limits, before, now)
        for name, state in self._states.items():
            self.needs.append((now, name, state.needed))
            if state.target != before[name].target:
                self.decisions.append((now, name, state))
                self._stages[name].scale(state.target)
        self._again(DECIDE_S, self._decide)

    def _again(self, seconds: float, handle: Callable[[str], None], name: str = "") -> None:
        events = self._service.events
        if events.now + seconds <= self._until_s:
            events.at(events.now + seconds, handle, name)


def _ratio(work: float, seconds: float) -> float:
    return work / seconds if seconds else 0.0

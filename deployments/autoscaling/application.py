"""The policy as Serve's controller calls it: for all deployments of the application at once.

The ``autoscaling_policy`` of the configuration names `ApplicationScaling`. The controller makes one
instance for each deployed configuration, and calls it about ten times a second. An exception would
keep the whole application from being updated, so none leaves it.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from deployments.autoscaling.load import ScalingLimits, StageLoad, StageState
from deployments.autoscaling.policy import decide
from deployments.autoscaling.reports import (
    BUSY,
    DONE,
    INGRESS,
    INITIAL_RATE,
    QUEUED,
    RATE,
    arriving,
    waiting,
)
from deployments.metrics.publisher import MetricPublisher
from deployments.metrics.scaling import SCALING

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

    Contexts = Mapping[Any, AutoscalingContext]

STALE_S = 10.0
"""Age of a report, in seconds, above which it no longer counts: its replica may hang."""

PUBLISH_S = 5.0
"""Seconds between two publications of the metrics, which Ray forgets after a while."""

LOG_AGAIN_S = 60.0
"""Seconds between two log records of failures of the policy."""

logger = logging.getLogger("ray.serve")


class ApplicationScaling:
    """Decides how many replicas each deployment has, and tells the operator why."""

    def __init__(self) -> None:
        self._states: dict[str, StageState] = {}
        self._decisions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._metrics = MetricPublisher(SCALING)
        self._published_s = self._failed_s = float("-inf")

    def __call__(self, contexts: Contexts) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Return the number of replicas of every deployment that is to change, and no state.

        The others are left out, because Serve starts a first replica of a deployment in the answer
        as soon as a call waits for it, although another pool may do its work.
        """
        try:
            targets = self._targets({one.deployment_name: one for one in contexts.values()})
        except Exception:
            now_s = max((one.current_time or 0.0 for one in contexts.values()), default=0.0)
            if now_s - self._failed_s >= LOG_AGAIN_S:
                self._failed_s = now_s
                logger.exception("scaling failed, every deployment keeps its replicas")
            return {}, {}
        return {
            key: target
            for key, one in contexts.items()
            if (target := targets[one.deployment_name]) != one.target_num_replicas
        }, {}

    def _targets(self, contexts: Mapping[str, AutoscalingContext]) -> dict[str, int]:
        """Decide, log every change, and publish the numbers behind the decisions."""
        now_s = max(one.current_time or 0.0 for one in contexts.values())
        loads = stage_loads(contexts, now_s)
        before = {
            name: _state(self._states.get(name), one.target_num_replicas)
            for name, one in contexts.items()
        }
        limits = {name: _limits(one) for name, one in contexts.items()}
        self._states = decide(loads, limits, before, now_s)
        changed = [
            name for name, state in self._states.items() if state.target != before[name].target
        ]
        for name in changed:
            grows = self._states[name].target > before[name].target
            self._decisions[name]["up" if grows else "down"] += 1
            logger.info(describe(name, before[name].target, loads[name], self._states[name]))
        if changed or now_s - self._published_s >= PUBLISH_S:
            self._published_s = now_s
            for name, state in self._states.items():
                load, decisions = loads[name], {"up": 0, "down": 0, **self._decisions[name]}
                numbers = {"queued": load.queued, "running": load.running, "decisions": decisions}
                self._metrics.publish({**asdict(state), **numbers}, name)
        return {name: state.target for name, state in self._states.items()}


def stage_loads(contexts: Mapping[str, AutoscalingContext], now_s: float) -> dict[str, StageLoad]:
    """Return the load of every deployment by what its replicas and the ingresses have reported."""
    ingress = _latest(contexts[INGRESS], now_s) if INGRESS in contexts else {}
    loads = {}
    for name, context in contexts.items():
        own = _latest(context, now_s)
        loads[name] = StageLoad(
            running=context.current_num_replicas,
            arriving_per_s=sum(ingress.get(arriving(name), ())),
            queued=sum(ingress.get(waiting(name), ())) + sum(own.get(QUEUED, ())),
            replica_per_s=_rate(own),
            initial_per_s=_mean(own.get(INITIAL_RATE, ())),
        )
    return loads


def describe(name: str, before: int, load: StageLoad, state: StageState) -> str:
    """Return the log record of a decision."""
    return (
        f"scaling {name} from {before} to {state.target} replicas ({state.reason.value}): "
        f"{state.needed:.2f} needed for {state.arriving_per_s or 0:.0f}/s arriving and "
        f"{load.queued:.0f} queued, at {state.replica_per_s:.0f}/s for each replica; "
        f"{load.running} running"
    )


def _state(known: StageState | None, target: int) -> StageState:
    """Return the state with Serve's target, which counts as needed now if it is a larger one."""
    if known is None or target > known.target:
        return replace(known or StageState(0), target=target, recent=())
    return replace(known, target=target)


def _rate(reports: Mapping[str, Sequence[float]]) -> float:
    """Return the work per second of a busy replica."""
    busy = sum(reports.get(BUSY, ()))
    return sum(reports.get(DONE, ())) / busy if busy > 0 else _mean(reports.get(RATE, ()))


def _mean(rates: Sequence[float]) -> float:
    """Return the mean of the rates that are known, else 0."""
    known = [rate for rate in rates if rate > 0]
    return sum(known) / len(known) if known else 0.0


def _latest(context: AutoscalingContext, now_s: float) -> dict[str, list[float]]:
    """Return the valid numbers of the replicas' latest reports, by name."""
    reports = context.raw_metrics or {}
    return {
        str(name): [
            series[-1].value
            for series in of_replicas.values()
            if series and now_s - series[-1].timestamp <= STALE_S and abs(series[-1].value) < 1e15
        ]
        for name, of_replicas in reports.items()
    }


def _limits(context: AutoscalingContext) -> ScalingLimits:
    """Return the bounds of a deployment, and how `autoscaling_config` lets it scale."""
    return ScalingLimits(
        context.capacity_adjusted_min_replicas,
        context.capacity_adjusted_max_replicas,
        **(context.config.policy.policy_kwargs if context.config else {}),
    )

"""The policy as Serve's controller calls it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import pytest
from ray import cloudpickle
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.autoscaling_policy import _apply_app_level_autoscaling_config
from ray.serve.config import AutoscalingContext

from deployments.autoscaling import application
from deployments.autoscaling.application import STALE_S, ApplicationScaling, stage_loads
from deployments.autoscaling.configuration import autoscaling_config
from deployments.autoscaling.load import StageLoad
from deployments.settings.stages import StageSettings

NOW_S = 1e9

Reports = list[Mapping[str, float]]


def _context(
    name: str,
    reports: Reports,
    *,
    target: int = 1,
    running: int | None = None,
    now_s: float = NOW_S,
    age_s: float = 0.0,
    **stage: Any,
) -> AutoscalingContext:
    identity = DeploymentID(name, "embedder")
    raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    for number, report in enumerate(reports):
        for key, value in report.items():
            series = [TimeStampedValue(0.0, 1e6), TimeStampedValue(now_s - age_s, value)]
            raw.setdefault(key, {})[ReplicaID(str(number), identity)] = series
    bounds = StageSettings.model_validate({"max_replicas": 4, **stage})
    return AutoscalingContext(
        identity,
        name,
        "embedder",
        len(reports) if running is None else running,
        target,
        [],
        0.0,
        0.0,
        {},
        lambda: raw,
        bounds.min_replicas,
        bounds.max_replicas,
        {},
        None,
        None,
        now_s,
        autoscaling_config(bounds, batches=name == "Encoder"),
    )


def _decide(scaling: Any, *contexts: AutoscalingContext) -> dict[str, int]:
    targets, _ = scaling({one.deployment_id: one for one in contexts})
    return {
        one.deployment_name: targets.get(one.deployment_id, one.target_num_replicas)
        for one in contexts
    }


INGRESSES: Reports = [
    {"arriving:Encoder": 100.0, "waiting:Encoder": 7.0, "arriving:Ingress": 9.0},
    {"arriving:Encoder": 200.0, "waiting:Encoder": 3.0, "arriving:Ingress": 1.0},
]


def test_the_load_of_a_stage_is_what_its_replicas_and_the_ingresses_report() -> None:
    encoders: Reports = [
        {"queued": 10.0, "rate": 90.0, "initial_rate": 300.0},
        {"queued": 5.0, "rate": 110.0, "initial_rate": 0.0},
        {},
    ]
    contexts = {"Ingress": _context("Ingress", INGRESSES), "Encoder": _context("Encoder", encoders)}

    assert stage_loads(contexts, NOW_S) == {
        "Ingress": StageLoad(2, 10.0),
        "Encoder": StageLoad(3, 300.0, 25.0, 100.0, 300.0),
    }


def test_the_rate_of_ingresses_is_what_all_answered_by_the_time_of_all() -> None:
    """The mean of the rates, 512/s, would hide that one is full with 12 requests that take long."""
    reports: Reports = [
        {"done": 100.0, "busy": 0.1},
        {"done": 12.0, "busy": 0.5},
        {"done": 0.0, "busy": 0.0},
    ]

    loads = stage_loads({"Ingress": _context("Ingress", reports)}, NOW_S)
    assert loads["Ingress"].replica_per_s == pytest.approx(112 / 0.6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_an_impossible_number_is_left_out(wrong: float) -> None:
    contexts = {
        "Ingress": _context("Ingress", [*INGRESSES, dict.fromkeys(INGRESSES[0], wrong)]),
        "Encoder": _context(
            "Encoder", [{"queued": 10.0, "rate": 90.0}, {"queued": wrong, "rate": wrong}]
        ),
    }

    assert stage_loads(contexts, NOW_S)["Encoder"] == StageLoad(2, 300.0, 20.0, 90.0)


def test_an_old_report_is_left_out() -> None:
    contexts = {
        "Ingress": _context("Ingress", INGRESSES),
        "Encoder": _context("Encoder", [{"queued": 10.0, "rate": 90.0}], age_s=STALE_S + 1),
    }

    assert stage_loads(contexts, NOW_S)["Encoder"] == StageLoad(1, 300.0, 10.0, 0.0)


def _loaded(now_s: float, target: int, arriving: float = 1000.0) -> list[AutoscalingContext]:
    ingress: Reports = [{"arriving:Encoder": arriving}]
    encoder: Reports = [{"queued": 0.0, "rate": 100.0}]
    return [
        _context("Ingress", ingress, now_s=now_s),
        _context("Encoder", encoder, now_s=now_s, target=target),
    ]


def test_serve_applies_a_decision_without_a_delay_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scaling = _apply_app_level_autoscaling_config(ApplicationScaling())  # type: ignore[arg-type]
    caplog.set_level(logging.INFO, "ray.serve")
    targets = [1]
    for step in range(20):
        targets.append(_decide(scaling, *_loaded(NOW_S + step / 10, targets[-1]))["Encoder"])

    # upscale_delay_s is 1 s.
    assert targets == [1] * 11 + [4] * 10
    (record,) = [record.message for record in caplog.records if "Encoder" in record.message]
    assert record == (
        "scaling Encoder from 1 to 4 replicas (arrivals): 14.29 needed for 1000/s arriving and "
        "0 queued, at 100/s for each replica; 1 running"
    )


def test_serve_applies_zero_replicas_and_the_way_back() -> None:
    scaling = _apply_app_level_autoscaling_config(ApplicationScaling())  # type: ignore[arg-type]

    def decide(second: float, target: int, waiting: float) -> int:
        now_s = NOW_S + second
        encoder = _context(
            "Encoder", [{}] * target, target=target, now_s=now_s, downscale_delay_s=5.0
        )
        object.__setattr__(encoder, "capacity_adjusted_min_replicas", 0)
        ingress = _context("Ingress", [{"waiting:Encoder": waiting}], now_s=now_s)
        return _decide(scaling, ingress, encoder)["Encoder"]

    target = 2
    history = []
    for second in range(20):
        target = decide(second, target, waiting=0.0)
        history.append(target)

    # Serve passes from 2 to 0 by way of 1.
    assert history == [2] * 5 + [1] + [0] * 14
    assert target == 0
    assert decide(21, 0, waiting=1.0) == 1


def test_a_failure_keeps_every_replica_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(application, "decide", fail)
    scaling = ApplicationScaling()
    answers = [_decide(scaling, *_loaded(NOW_S + step / 10, 3)) for step in range(50)]

    assert answers == [{"Ingress": 1, "Encoder": 3}] * 50
    assert len(caplog.records) == 1


def test_the_target_that_serve_reports_counts_and_not_the_one_decided_before() -> None:
    scaling = ApplicationScaling()
    for step in range(30):
        _decide(scaling, *_loaded(NOW_S + step / 10, 4))

    # Serve has started again with one replica.
    assert _decide(scaling, *_loaded(NOW_S + 4, 1))["Encoder"] == 1
    assert _decide(scaling, *_loaded(NOW_S + 6, 1))["Encoder"] == 4


def test_a_call_that_waits_for_an_empty_pool_starts_it_only_if_an_ingress_reports_it() -> None:
    """Each connection calls all pools; Serve alone would start a replica in each."""
    scaling = _apply_app_level_autoscaling_config(ApplicationScaling())  # type: ignore[arg-type]

    def decide(waiting: float) -> int:
        encoder = _context("Encoder", [], target=0)
        object.__setattr__(encoder, "capacity_adjusted_min_replicas", 0)
        object.__setattr__(encoder, "_total_num_requests_value", 3.0)
        return _decide(scaling, _context("Ingress", [{"waiting:Encoder": waiting}]), encoder)[
            "Encoder"
        ]

    assert [decide(waiting=0.0), decide(waiting=1.0)] == [0, 1]


def test_replicas_that_another_policy_has_added_stay_for_the_delay() -> None:
    scaling = ApplicationScaling()
    history = [
        _decide(scaling, *_loaded(NOW_S + second, 1 if second < 10 else 2, arriving=0.0))["Encoder"]
        for second in range(15)
    ]

    assert history == [1] * 10 + [2] * 5


def test_a_pool_without_an_ingress_keeps_its_replicas() -> None:
    assert _decide(ApplicationScaling(), _loaded(NOW_S, 2)[1]) == {"Encoder": 2}


def test_the_controller_gets_the_policy_by_value() -> None:
    cloudpickle.register_pickle_by_value(application)  # type: ignore[no-untyped-call]
    try:
        pickled = cloudpickle.dumps(ApplicationScaling)  # type: ignore[no-untyped-call]
    finally:
        cloudpickle.unregister_pickle_by_value(application)  # type: ignore[no-untyped-call]

    scaling = cloudpickle.loads(pickled)()
    assert _decide(scaling, *_loaded(NOW_S, 2)) == {"Ingress": 1, "Encoder": 2}

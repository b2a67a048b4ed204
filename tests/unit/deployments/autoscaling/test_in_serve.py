"""The policy in the part of Serve's controller that decides, with reports as replicas send them."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from ray.serve._private.autoscaling_state import ApplicationAutoscalingState
from ray.serve._private.common import (
    DeploymentID,
    ReplicaID,
    ReplicaMetricReport,
    TimeStampedValue,
)
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingPolicy

from deployments.autoscaling.configuration import autoscaling_config
from deployments.launch.preflight import AUTOSCALING
from deployments.settings.stages import StageSettings

STAGES = {"Ingress": StageSettings(max_replicas=1), "Encoder": StageSettings(max_replicas=4)}


class _Serve:
    """The application in the controller; ``targets`` are its numbers of replicas."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = time.time()
        monkeypatch.setattr("time.time", lambda: self.now_s)
        self._state = ApplicationAutoscalingState("embedder")
        self._state.register(AutoscalingPolicy(**AUTOSCALING))  # type: ignore[no-untyped-call]
        self.targets = {DeploymentID(name, "embedder"): 1 for name in STAGES}
        for identity in self.targets:
            config = autoscaling_config(STAGES[identity.name], batches=identity.name == "Encoder")
            info = DeploymentInfo(
                deployment_config=DeploymentConfig(autoscaling_config=config),
                replica_config=None,  # type: ignore[arg-type]
                start_time_ms=0,
                deployer_job_id="",
            )
            self._state.register_deployment(identity, info, 1)

    def second(self, reports: Mapping[str, Mapping[str, float]]) -> int:
        """Let every replica report, decide ten times, and return the encoders' target."""
        for identity, target in self.targets.items():
            replicas = [ReplicaID(str(number), identity) for number in range(target)]
            self._state.update_running_replica_ids(identity, replicas)
            for replica in replicas:
                metrics = {
                    name: [TimeStampedValue(self.now_s, value)]
                    for name, value in reports[identity.name].items()
                }
                report = ReplicaMetricReport(replica, metrics, self.now_s)
                self._state.record_request_metrics_for_replica(report)
        for _ in range(10):
            self.now_s += 0.1
            self.targets |= self._state.get_decision_num_replicas(self.targets)
        return self.targets[DeploymentID("Encoder", "embedder")]


def test_a_load_step_is_decided_within_seconds_and_undone_after_the_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve = _Serve(monkeypatch)

    def seconds(count: int, arriving: float) -> list[int]:
        reports = {
            "Ingress": {
                "arriving:Encoder": arriving,
                "arriving:Ingress": 10.0,
                "done": 10.0,
                "busy": 0.1,
            },
            "Encoder": {"queued": 0.0, "rate": 100.0, "initial_rate": 100.0},
        }
        return [serve.second(reports) for _ in range(count)]

    assert set(seconds(10, 50.0)) == {1}
    step = seconds(4, 400.0)
    assert step[-1] == 4
    assert step == sorted(step)
    assert set(seconds(60, 50.0)) == {4}
    down = seconds(int(STAGES["Encoder"].downscale_delay_s), 50.0)
    assert down == sorted(down, reverse=True)
    assert down[-1] == 1

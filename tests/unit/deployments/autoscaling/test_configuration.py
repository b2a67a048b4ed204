"""The configuration that Serve gets for the scaling of a deployment."""

from __future__ import annotations

import inspect

import pytest
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.replica import ReplicaMetricsManager

from deployments.autoscaling.configuration import REPORT_S, autoscaling_config
from deployments.settings.stages import StageSettings

STAGE = StageSettings(
    min_replicas=2, max_replicas=5, target_utilization=0.5, downscale_delay_s=60.0
)


def test_serve_adds_no_delay_to_those_of_the_policy() -> None:
    config = autoscaling_config(STAGE, batches=True, overflow=("Encoder-gpu",))

    assert (config.min_replicas, config.max_replicas) == (2, 5)
    assert (config.upscale_delay_s, config.downscale_delay_s) == (0.0, 0.0)
    assert config.downscale_to_zero_delay_s is None
    assert config.policy.policy_kwargs == {
        "target_utilization": 0.5,
        "upscale_delay_s": 1.0,
        "downscale_delay_s": 60.0,
        "batches": True,
        "overflow": ["Encoder-gpu"],
    }


def test_the_policy_reaches_the_controller_unchanged() -> None:
    config = autoscaling_config(STAGE, batches=False)
    sent = DeploymentConfig(autoscaling_config=config).to_proto_bytes()  # type: ignore[no-untyped-call]
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
        received = DeploymentConfig.from_proto_bytes(sent).autoscaling_config

    assert received is not None
    assert received.policy.policy_kwargs == config.policy.policy_kwargs
    assert received.policy.is_default_policy_function()


def test_ray_reports_at_the_interval_of_the_configuration() -> None:
    """Ray documents variables that replace it, and reads none of them."""
    config = autoscaling_config(STAGE, batches=False)

    assert config.metrics_interval_s == REPORT_S < config.look_back_period_s
    assert "autoscaling_config.metrics_interval_s" in inspect.getsource(
        ReplicaMetricsManager.start_metrics_pusher
    )

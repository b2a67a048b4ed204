"""The `autoscaling_config` of one deployment, which Serve reads.

`deployments.autoscaling.application` decides with all of its delays, so Serve adds none. Nothing in
Ray 2.60 reads the variables for the intervals of reports, ``RAY_SERVE_*_METRIC_PUSH_INTERVAL_S``,
although it warns that they replace ``metrics_interval_s``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from deployments.settings.stages import StageSettings

REPORT_S = 1.0
"""Seconds between two reports of a replica."""

REMEMBERED_S = 5.0
"""Seconds of reports that a replica sends again; the policy uses the latest."""


def autoscaling_config(
    stage: StageSettings, *, batches: bool, overflow: Sequence[str] = ()
) -> AutoscalingConfig:
    """Return the scaling of a deployment, as `ScalingLimits` describes it."""
    scaling = {
        "target_utilization": stage.target_utilization,
        "upscale_delay_s": stage.upscale_delay_s,
        "downscale_delay_s": stage.downscale_delay_s,
        "batches": batches,
        "overflow": list(overflow),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=stage.min_replicas,
            max_replicas=stage.max_replicas,
            metrics_interval_s=REPORT_S,
            look_back_period_s=REMEMBERED_S,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            policy=AutoscalingPolicy(policy_kwargs=scaling),  # type: ignore[no-untyped-call]
        )

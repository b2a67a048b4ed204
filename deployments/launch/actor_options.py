"""The options of the Ray actor of a replica: the resources of its node, and its environment."""

from __future__ import annotations

import os
from typing import Any

from deployments.settings.encoders import EncoderReplicas
from deployments.settings.stages import ReplicaSettings


def actor_options(stage: ReplicaSettings) -> dict[str, Any]:
    """Return the options of Ray for the actor of a replica."""
    options: dict[str, Any] = {"num_cpus": stage.num_cpus}
    if stage.hardware == "gpu":
        options["num_gpus"] = stage.num_gpus
    if stage.resources:
        options["resources"] = stage.resources
    if isinstance(stage, EncoderReplicas) and stage.accelerator_type is not None:
        options["accelerator_type"] = stage.accelerator_type
    if stage.label_selector:
        options["label_selector"] = stage.label_selector
    return options


def replica_resources(stage: ReplicaSettings) -> dict[str, float]:
    """Return the resources of one replica by Ray's names."""
    options = actor_options(stage)
    needed = {"CPU": options["num_cpus"], **options.get("resources", {})}
    if "num_gpus" in options:
        needed["GPU"] = options["num_gpus"]
    if "accelerator_type" in options:
        # Ray gives a node one unit of this resource, and books this share for a replica.
        needed[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return needed


def routed_in_own_loop(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an actor that sends calls to other deployments from its event loop.

    That saves a thread switch per call. Throughput mode would do the same in every process of the
    cluster, and a process without an event loop could then send no calls, so `embedder serve` turns
    it off for the others.
    """
    if os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED") != "1":
        return options
    variables = {"RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
    return {**options, "runtime_env": {"env_vars": variables}}

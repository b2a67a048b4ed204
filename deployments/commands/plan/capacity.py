"""``embedder plan --rate`` and ``--measure``: the capacity for a rate, and its calibration."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from deployments.commands.arguments import load_settings, option_of
from deployments.operations import calibrating
from deployments.settings.placement import AUTO_CHARACTERS
from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.planning.calibration import Calibration, choose
from embedder.planning.capacity import CapacityPlan, Demand, measured_shape, plan_capacity
from embedder.planning.goal import show
from embedder.planning.nodes import NodeShape

MOST_PER_NODE = 100
"""The highest ``max_replicas_per_node`` that Ray accepts."""


def measure(options: argparse.Namespace) -> int:
    """Measure this machine and write the calibration."""
    calibration = calibrating.calibrate(load_settings(options).settings, options.hardware)
    calibration.save(options.measure)
    print(f"{options.measure}: {calibration.hardware}, {calibration.encoder.model}")
    return 0


def print_capacity(options: argparse.Namespace) -> int:
    """Print the plan as a table, with the settings that it stands for, or as JSON."""
    for name in ("p99_ms", "tokens"):
        if getattr(options, name) is None:
            raise ConfigurationError(f"--rate needs {option_of(name)} too")
    calibration = choose(
        options.calibration or [Path("calibration.yaml")], options.hardware, options.model
    )
    try:
        demand = Demand(options.rate, options.p99_ms, options.tokens, options.spare_nodes or 0)
        planned = plan_capacity(
            demand, calibration, _shape(options, calibration), ingress_characters=AUTO_CHARACTERS
        )
    except InvalidInput as error:
        raise error.with_field(option_of(error.field)) from error
    settings = serve_settings(planned, calibration, demand)
    if options.json:
        print(json.dumps({**asdict(planned), "settings": settings}))
    else:
        _print(planned, calibration)
        print(yaml.safe_dump(settings, sort_keys=False), end="")
    return 0


def serve_settings(
    planned: CapacityPlan, calibration: Calibration, demand: Demand
) -> dict[str, Any]:
    """Return the ``args:`` of a Serve configuration for a plan, spare nodes included."""
    bounds = {
        stage.name: {
            "min_replicas": stage.replicas + demand.spare_nodes * stage.per_node,
            "max_replicas": stage.per_node * planned.nodes,
            **(
                {"max_replicas_per_node": stage.per_node} if stage.per_node <= MOST_PER_NODE else {}
            ),
        }
        for stage in planned.stages
    }
    hardware = "gpu" if calibration.on_gpu else "cpu"
    pool = {"name": hardware, "hardware": hardware, "num_cpus": 1, **bounds["encoder"]}
    batching = {"max_tokens": planned.batch_texts * demand.tokens}
    return {"batching": batching, **bounds, "encoder": {"pools": [pool]}}


def _shape(options: argparse.Namespace, calibration: Calibration) -> NodeShape:
    """Return the shape of a node: the options, and else that of the calibrated machine."""
    given = {
        name: value
        for name in ("cpus", "gpus", "memory_gb")
        if (value := getattr(options, f"node_{name}")) is not None
    }
    return replace(measured_shape(calibration), price_per_hour=options.price_per_hour, **given)


def _print(planned: CapacityPlan, calibration: Calibration) -> None:
    """Print the table as comments, so that the output as a whole is YAML."""
    measured = f"{calibration.encoder.model} in {calibration.encoder.dtype} on {calibration.date}"
    print(f"# {calibration.hardware}, measured with {measured}")
    print(f"# {'stage':<10} {'replicas':>8} {'a node':>7} {'used':>6} {'p99 part, ms':>13}")
    for stage in planned.stages:
        print(
            f"# {stage.name:<10} {stage.replicas:>8,} {stage.per_node:>7,} {stage.used:>6.0%}"
            f" {stage.latency_ms:>13.1f}"
        )
    print(f"# nodes: {planned.nodes:,}, limited by {option_of('node_' + planned.limited_by)}")
    print(f"# memory of the fullest node: {planned.memory_gb:.1f} GB")
    print(f"# 99 of 100 texts within at most {show(planned.p99_ms)} ms")
    print(f"# bottleneck: {planned.bottleneck}, at {show(planned.saturated_rate)} texts/s")
    if planned.cost_per_million_tokens is not None:
        print(f"# cost of a million tokens: {planned.cost_per_million_tokens:.4g}")

"""``embedder plan``: settings of one process on this machine."""

from __future__ import annotations

import argparse
import sys

import yaml

from deployments.commands.arguments import load_settings
from embedder.planning.goal import Goal
from embedder.planning.plan import plan_settings


def print_settings(options: argparse.Namespace) -> int:
    """Print the settings as YAML with reasons as comments; return 1 if a limit cannot be kept."""
    goal = Goal(
        max_memory_gb=options.max_memory_gb,
        target_latency_ms=options.target_latency_ms,
        min_texts_per_s=options.min_texts_per_s,
        tokens_per_text=64 if options.tokens_per_text is None else options.tokens_per_text,
    )
    plan = plan_settings(load_settings(options).settings, goal)
    for reason in plan.reasons:
        print(f"# {reason}")
    predicted = plan.predicted
    gigabytes = predicted.memory_bytes / 1e9
    print(f"# predicted: {gigabytes:.2f} GB, {predicted.texts_per_s:,.0f} texts/s")
    print(f"# a text in {predicted.alone_ms:.1f} ms alone, {predicted.latency_ms:.1f} ms when busy")
    print(yaml.safe_dump(plan.settings.model_dump(mode="json", exclude_defaults=True)), end="")
    for unmet in plan.unmet:
        print(f"embedder: {unmet}", file=sys.stderr)
    return 1 if plan.unmet else 0

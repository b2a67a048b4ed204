"""``embedder plan``: settings for this machine, or the capacity that a rate needs.

Without ``--rate`` and ``--measure`` it measures this machine for a second and prints settings of
one process that keep given limits. ``--measure`` writes a calibration, from which ``--rate`` plans.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deployments.commands.arguments import (
    Commands,
    add_command,
    add_settings,
    option_of,
)
from embedder.core.errors import ConfigurationError

PROCESS = ("max_memory_gb", "target_latency_ms", "min_texts_per_s", "tokens_per_text")
NODE = ("node_cpus", "node_gpus", "node_memory_gb", "price_per_hour")
RATE = ("p99_ms", "tokens", "calibration", "spare_nodes", "json", *NODE)
"""Options of one use each; None if they were not given."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    plan = add_command(
        commands,
        "plan",
        run,
        "print settings for this machine, or the replicas and nodes that a rate needs",
    )
    process = plan.add_argument_group("settings of one process, measured on this machine")
    process.add_argument("--max-memory-gb", type=float, help="peak memory of one process")
    process.add_argument("--target-latency-ms", type=float, help="of one text on a busy device")
    process.add_argument("--min-texts-per-s", type=float, help="of one process")
    process.add_argument("--tokens-per-text", type=int, help="of a typical text (64)")
    rate = plan.add_argument_group("capacity for a rate, from a calibration")
    rate.add_argument("--rate", type=float, help="texts per second, each in its own request")
    rate.add_argument("--p99-ms", type=float, help="latency that 99 of 100 texts keep")
    rate.add_argument("--tokens", type=int, help="of a text")
    rate.add_argument("--hardware", help="of a calibration; with --measure, the name to write")
    rate.add_argument(
        "--calibration", type=Path, nargs="+", metavar="FILE", help="(calibration.yaml)"
    )
    rate.add_argument("--spare-nodes", type=int, help="nodes that may be lost (0)")
    rate.add_argument("--node-cpus", type=float, help="cores of a node (of the calibrated one)")
    rate.add_argument("--node-gpus", type=float, help="GPUs of a node (likewise)")
    rate.add_argument("--node-memory-gb", type=float, help="memory of a node (likewise)")
    rate.add_argument("--price-per-hour", type=float, help="of a node, in any currency")
    rate.add_argument("--json", action="store_true", default=None, help="print the plan as JSON")
    measure = plan.add_argument_group("calibration of this machine, for capacities")
    measure.add_argument(
        "--measure",
        type=Path,
        metavar="FILE",
        help="measure encoders and a service for two minutes, during which nothing else should run",
    )
    add_settings(plan)


def run(options: argparse.Namespace) -> int:
    """Run the use of the command that the options choose; return 1 if a limit cannot be kept."""
    others: tuple[str, ...] = ("hardware", *RATE)
    use = "without --rate"
    if options.measure is not None:
        use, others = "with --measure", ("rate", *PROCESS, *RATE)
    elif options.rate is not None:
        use, others = "with --rate", PROCESS
    for name in others:
        if getattr(options, name) is not None:
            raise ConfigurationError(f"{option_of(name)} has no effect {use}; leave it out")
    # torch, which these import, takes seconds.
    if options.measure is None and options.rate is None:
        from deployments.commands.plan.settings import print_settings as act
    elif options.measure is None:
        from deployments.commands.plan.capacity import print_capacity as act
    else:
        from deployments.commands.plan.capacity import measure as act
    return act(options)

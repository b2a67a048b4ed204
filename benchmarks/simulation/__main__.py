"""Simulate the service, or compare the simulation with this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.simulation import machine

COSTS = Path("benchmarks/results/simulation-costs.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run, rate in (
        ("calibrate", machine.calibrate, 20.0),
        ("predict", machine.predict, None),
        ("measure", machine.measure, None),
    ):
        command = commands.add_parser(
            name,
            help=run.__doc__,
            description=run.__doc__,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.set_defaults(run=run)
        command.add_argument("--rate", type=float, default=rate, required=rate is None)
        command.add_argument("--seconds", type=float, default=60.0)
        command.add_argument("--warm-up", type=float, default=10.0)
        command.add_argument("--costs", type=Path, default=COSTS)
        command.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
        command.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Simulate the service, or compare the simulation with this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.simulation import machine, scenarios

COSTS = Path("benchmarks/results/simulation-costs.json")
EXAMPLES = """
examples:
  python -m benchmarks.simulation step --rate 200 --factor 5
  python -m benchmarks.simulation grow --replicas 1,10,100,1000
  python -m benchmarks.simulation pools --ingresses 1,4,16
  python -m benchmarks.simulation overload --ingresses 1,2,4 --factor 3
  python -m benchmarks.simulation calibrate            two loads of a service on this machine
  python -m benchmarks.simulation predict --rate 150   what a third one will do
  python -m benchmarks.simulation measure --rate 150   what it does
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_scenarios(commands)
    _add_machine(commands)
    return parser


def _add_scenarios(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    step = _command(commands, "step", scenarios.load_step)
    step.add_argument("--rate", type=float, default=200.0, help="requests a second at 1×")
    step.add_argument("--factor", type=float, default=5.0, help="of the step")
    step.add_argument("--phase", type=float, default=60.0, help="seconds of each phase")
    step.add_argument("--max-replicas", type=int, default=20, help="of each stage")
    step.add_argument("--downscale-delay", type=float, default=30.0, help="seconds")
    step.add_argument("--tokenizer", action="store_true", help="ingresses call tokenizers")
    grow = _command(commands, "grow", scenarios.grow)
    grow.add_argument("--replicas", type=_numbers, default="1,10,100", help="sizes, with commas")
    grow.add_argument("--rate", type=float, default=1000.0, help="requests a second and replica")
    grow.add_argument("--seconds", type=float, default=10.0, help="simulated seconds")
    grow.add_argument("--ingresses", type=float, default=1.0, help="for each encoder replica")
    grow.add_argument("--tick", type=float, default=5.0, help="ms; 0: exact, and slower")
    pools = _command(commands, "pools", scenarios.two_pools)
    pools.add_argument("--fast", type=int, default=1, help="replicas of the fast pool")
    pools.add_argument("--slow", type=int, default=8, help="replicas of the slow pool")
    pools.add_argument("--speedup", type=float, default=8.0, help="of a fast replica")
    pools.add_argument("--load", type=float, default=0.7, help="share of the capacity")
    overload = _command(commands, "overload", scenarios.overloaded)
    overload.add_argument("--replicas", type=int, default=2, help="encoders")
    overload.add_argument("--factor", type=float, default=2.0, help="load in capacities")
    for command in (pools, overload):
        command.add_argument("--ingresses", type=_numbers, default="1,2,4", help="with commas")
        command.add_argument("--seconds", type=float, default=20.0, help="simulated seconds")
    for command in (step, grow):
        command.add_argument("--results", type=Path, default=COSTS.parent, help="for plots")
    for command in (step, grow, pools, overload):
        command.add_argument("--costs", type=Path, help="from `calibrate`; none: typical costs")


def _add_machine(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    calibrate = _command(commands, "calibrate", machine.calibrate)
    calibrate.add_argument("--rate", type=float, default=30.0, help="the low load, requests/s")
    predict = _command(commands, "predict", machine.predict)
    measure = _command(commands, "measure", machine.measure)
    for command in (predict, measure):
        command.add_argument("--rate", type=float, required=True, help="requests a second")
    for command in (calibrate, predict, measure):
        command.add_argument("--seconds", type=float, default=60.0, help="of each load")
        command.add_argument("--costs", type=Path, default=COSTS, help="file of the constants")
    for command in (calibrate, measure):
        command.add_argument("--warm-up", type=float, default=10.0, help="seconds")
        command.add_argument("--config", type=Path, default=Path("serve_config.yaml"))


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    text = (run.__doc__ or "").splitlines()[0]
    command = commands.add_parser(
        name,
        help=text,
        description=text,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("--seed", type=int, default=0, help="of all random numbers")
    return command


def _numbers(given: str) -> list[int]:
    return [int(number) for number in given.split(",")]


if __name__ == "__main__":
    sys.exit(main())

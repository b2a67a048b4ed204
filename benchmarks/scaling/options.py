"""What the command line says: which axes, how many rounds, how long a window."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure: ``seconds`` of a window over HTTP, ``in_process_s`` of one in process.

    A service is put under load for ``warm_up_s`` before anything of it counts.
    """

    axes: tuple[str, ...]
    quick: bool
    rounds: int
    seconds: float
    in_process_s: float
    warm_up_s: float
    config: Path
    seed: int
    results: Path

    def choose(self, whole: T, quick: T) -> T:
        """Return which of the two this run is for."""
        return quick if self.quick else whole


def parse(arguments: Sequence[str] | None, axes: Sequence[str]) -> Options:
    """Read the command line; ``axes`` are those that there are."""

    def some(given: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in given.split(",") if name.strip())
        unknown = sorted(set(chosen) - set(axes))
        if unknown or not chosen:
            what = ", ".join(unknown) or "none"
            raise argparse.ArgumentTypeError(f"{what}: the axes are {', '.join(axes)}")
        return chosen

    parser = argparse.ArgumentParser(
        prog="benchmarks.scaling",
        description="Measure what the cost is as work grows, beside the law of each axis.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round of fewer points")
    parser.add_argument("--axes", type=some, default=",".join(axes), help="with commas between")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    quick: bool = given.quick
    return Options(
        axes=given.axes,
        quick=quick,
        rounds=1 if quick else 3,
        seconds=1.0 if quick else 3.0,
        in_process_s=0.25 if quick else 1.0,
        warm_up_s=1.0 if quick else 3.0,
        config=given.config,
        seed=given.seed,
        results=given.results,
    )

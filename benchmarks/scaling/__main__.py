"""Measure the cost as work grows; print a table for each axis, and a JSON line at the end.

The exit status is 1 where an axis that was asked for failed; a deviation from a law is only shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.bench.measuring import say
from benchmarks.bench.report import line, machine
from benchmarks.scaling.axes import AXES
from benchmarks.scaling.options import Options, parse
from benchmarks.scaling.plots import draw
from benchmarks.scaling.report import document, table
from benchmarks.scaling.running import Outcome, run

BUSY = 0.5
"""A load of the last minute above which figures are in doubt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen axes, and report."""
    options = parse(arguments, [*AXES])
    options.results.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()[0]
    if before > BUSY:
        say(f"the machine is busy (load {before:.1f}): figures are in doubt, rates most of all")
    outcomes = run([AXES[name] for name in options.axes], options, say)
    _report(outcomes, options, before)
    return int(any(outcome.reason is not None for outcome in outcomes))


def _report(outcomes: Sequence[Outcome], options: Options, before: float) -> None:
    for path in draw(outcomes, options.results):
        say(f"wrote {path}")
    about = _about(options, before)
    everything = line(document(outcomes, about))
    (options.results / "scaling.json").write_text(f"{everything}\n", encoding="utf-8")
    print(f"medians of {options.rounds} rounds, {about['machine']}")
    for outcome in outcomes:
        print(f"\n{table(outcome)}")
    print(f"\n{everything}")


def _about(options: Options, before: float) -> dict[str, Any]:
    return {
        "machine": machine(before),
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "in_process_s": options.in_process_s,
        "seed": options.seed,
    }


if __name__ == "__main__":
    sys.exit(main())

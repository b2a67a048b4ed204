"""The commands that simulate services of any size: a load step, growth, pools and overload."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.bench.report import line
from benchmarks.simulation import growth, overload, plots, pool_choice, step
from benchmarks.simulation.costs import TYPICAL, Calibration
from deployments.autoscaling.load import ScalingLimits

ACCELERATED = 4.0
"""How many times faster than a core the replicas of a large service are here, so that one does
1,000 requests a second."""


def load_step(options: argparse.Namespace) -> None:
    """Simulate a load step of 1×, 5× and 1×, with the product's scaling."""
    limits = ScalingLimits(1, options.max_replicas, downscale_delay_s=options.downscale_delay)
    result = step.run(
        step.Step(
            _calibration(options),
            rate_per_s=options.rate,
            factor=options.factor,
            phase_s=options.phase,
            limits=replace(limits, batches=True),
            others=limits,
            tokenizer=options.tokenizer,
            seed=options.seed,
        )
    )
    print("\n".join(result.decisions))
    reactions = [asdict(one) for one in result.reactions]
    _print_table(reactions)
    phases = []
    for number in range(3):
        figures = result.log.figures(number * options.phase, (number + 1) * options.phase)
        phases.append({"phase": number + 1, **asdict(figures)})
    _print_table(phases)
    print(f"wrote {plots.draw_step(result, options.results)}")
    print(line({"reactions": reactions, "phases": phases}))


def grow(options: argparse.Namespace) -> None:
    """Simulate services of up to 1,000 encoder replicas, with ingresses and load in proportion."""
    calibration = _calibration(options)
    encoder = calibration.encoder
    encoder = replace(encoder, tokens_per_s=ACCELERATED * encoder.tokens_per_s)
    setting = growth.Growth(
        replace(calibration, encoder=encoder),
        rate_per_s=options.rate,
        ingresses=options.ingresses,
        seconds=options.seconds,
        tick_s=options.tick / 1000,
        seed=options.seed,
    )
    sizes: list[growth.Size] = []
    for replicas in options.replicas:
        size = growth.run(setting, replicas)
        each = size.figures.answered_per_s / replicas
        first = sizes[0].figures.answered_per_s / sizes[0].replicas if sizes else each
        sizes.append(replace(size, of_linear=each / first))
        print(f"{replicas} replicas: {size.cpu_s:.0f} s of CPU, {size.events:,} events", flush=True)
    rows = [
        _row(size, "sent_per_s", "answered_per_s", "p50_ms", "p99_ms", "refused") for size in sizes
    ]
    _print_table(rows)
    print(f"wrote {plots.draw_growth(sizes, options.results)}")
    print(line({"sizes": rows}))


def two_pools(options: argparse.Namespace) -> None:
    """Simulate the choice between two pools by old reports, beside perfect knowledge."""
    pools = pool_choice.Pools(
        _calibration(options),
        fast=options.fast,
        slow=options.slow,
        speedup=options.speedup,
        load=options.load,
        seconds=options.seconds,
        seed=options.seed,
    )
    rows = [
        _row(pool_choice.run(pools, router, ingresses), "p50_ms", "p99_ms")
        for ingresses in options.ingresses
        for router in pool_choice.ROUTERS
    ]
    _print_table(rows)
    print(line({"choices": rows}))


def overloaded(options: argparse.Namespace) -> None:
    """Simulate admission at several ingresses under more load than the encoders can do."""
    setting = overload.Overload(
        _calibration(options),
        replicas=options.replicas,
        factor=options.factor,
        seconds=options.seconds,
        seed=options.seed,
    )
    results = [
        overload.run(setting, ingresses, same_ingress=same_ingress)
        for ingresses in options.ingresses
        for same_ingress in (True, False)[ingresses == 1 :]
    ]
    rows = [_row(result, "p50_ms", "p99_ms", "refused", "lost") for result in results]
    _print_table(rows)
    print(line({"overload": rows}))


def _calibration(options: argparse.Namespace) -> Calibration:
    return Calibration.read(options.costs) if options.costs else TYPICAL


def _row(
    result: growth.Size | overload.Admission | pool_choice.Choice, *names: str
) -> dict[str, Any]:
    """Return the fields of a result, and of its figures those with these names."""
    row = asdict(result)
    figures = row.pop("figures")
    return row | {name: figures[name] for name in names}


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows that have the same keys."""
    widths = {key: max(len(key), 9) + 2 for key in rows[0]}
    print("\n" + "".join(f"{key:>{width}}" for key, width in widths.items()))
    for row in rows:
        print("".join(f"{_cell(row[key]):>{width}}" for key, width in widths.items()))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)

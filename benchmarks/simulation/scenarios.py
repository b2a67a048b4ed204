"""The commands that simulate services of any size: a load step, growth, and two pools."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.bench.report import line
from benchmarks.simulation import crowd, growth, herding, plots, step
from benchmarks.simulation.calibration import TYPICAL, Calibration
from deployments.autoscaling.load import ScalingLimits

ACCELERATED = 4.0
"""How many times faster than a core the replicas of a large service are here, so that one does
1,000 requests a second."""


def load_step(options: argparse.Namespace) -> None:
    """Simulate a load step of 1×, 5× and 1×, with the product's scaling."""
    calibration = _calibration(options)
    limits = ScalingLimits(1, options.max_replicas, downscale_delay_s=options.downscale_delay)
    stepped = step.run(
        step.Step(
            calibration.costs,
            calibration.tokens,
            rate_per_s=options.rate,
            factor=options.factor,
            phase_s=options.phase,
            limits=replace(limits, batches=True),
            others=limits,
            tokenizer=options.tokenizer,
            seed=options.seed,
        )
    )
    print("\n".join(stepped.decisions))
    rows: list[dict[str, Any]] = [asdict(one) for one in stepped.reactions]
    _table(rows)
    phases = []
    for number in range(3):
        figures = stepped.log.figures(number * options.phase, (number + 1) * options.phase)
        phases.append({"phase": number + 1, **asdict(figures)})
    _table(phases)
    print(f"wrote {plots.draw_step(stepped, options.results)}")
    print(line({"reactions": rows, "phases": phases}))


def grow(options: argparse.Namespace) -> None:
    """Simulate services of up to 1,000 encoder replicas, with ingresses and load in proportion."""
    calibration = _calibration(options)
    costs = calibration.costs
    encoder = replace(costs.encoder, tokens_per_s=ACCELERATED * costs.encoder.tokens_per_s)
    setting = growth.Growth(
        replace(costs, encoder=encoder),
        calibration.tokens,
        rate_per_s=options.rate,
        ingresses=options.ingresses,
        seconds=options.seconds,
        max_batch_tokens=calibration.max_batch_tokens,
        tick_s=options.tick / 1000,
        seed=options.seed,
    )
    sizes: list[growth.Size] = []
    for replicas in options.replicas:
        size = growth.run(setting, replicas)
        each = size.figures.answered_per_s / replicas
        first = sizes[0].figures.answered_per_s / sizes[0].replicas if sizes else each
        sizes.append(replace(size, share=each / first))
        print(f"{replicas} replicas: {size.cpu_s:.0f} s of CPU, {size.events:,} events", flush=True)
    rows = [_size_row(size) for size in sizes]
    _table(rows)
    print(f"wrote {plots.draw_growth(sizes, options.results)}")
    print(line({"sizes": rows}))


def _size_row(size: growth.Size) -> dict[str, Any]:
    return {
        "replicas": size.replicas,
        "ingresses": size.ingresses,
        "sent_per_s": size.figures.sent_per_s,
        "answered_per_s": size.figures.answered_per_s,
        "of_linear": size.share,
        "p50_ms": size.figures.p50_ms,
        "p99_ms": size.figures.p99_ms,
        "refused": size.figures.refused,
        "texts_per_call": size.texts_per_call,
        **{f"{stage}_busy": busy for stage, busy in size.busy.items()},
        "bottleneck": size.bottleneck,
        "cpu_s": size.cpu_s,
    }


def two_pools(options: argparse.Namespace) -> None:
    """Simulate the choice between two pools by old reports, beside perfect knowledge."""
    calibration = _calibration(options)
    pools = herding.Pools(
        calibration.costs,
        calibration.tokens,
        fast=options.fast,
        slow=options.slow,
        speedup=options.speedup,
        load=options.load,
        seconds=options.seconds,
        seed=options.seed,
    )
    rows = []
    for ingresses in options.ingresses:
        for router in herding.ROUTERS:
            choice = herding.run(pools, router, ingresses)
            rows.append(
                {
                    "ingresses": ingresses,
                    "router": router,
                    "fast_share": choice.fast_share,
                    "fast_capacity": choice.fast_capacity,
                    "p50_ms": choice.figures.p50_ms,
                    "p99_ms": choice.figures.p99_ms,
                    "gap_ms": choice.gap_ms,
                    "turns_per_s": choice.turns_per_s,
                }
            )
    _table(rows)
    print(line({"choices": rows}))


def overload(options: argparse.Namespace) -> None:
    """Simulate admission at several ingresses under more load than the encoders can do."""
    calibration = _calibration(options)
    setting = crowd.Crowd(
        calibration.costs,
        calibration.tokens,
        calibration.max_batch_tokens,
        replicas=options.replicas,
        factor=options.factor,
        seconds=options.seconds,
        seed=options.seed,
    )
    rows = []
    for ingresses in options.ingresses:
        for same_ingress in (True, False)[ingresses == 1 :]:
            refusals = crowd.run(setting, ingresses, same_ingress=same_ingress)
            rows.append(
                {
                    "ingresses": ingresses,
                    "returns_to": refusals.returns_to,
                    "of_capacity": refusals.of_capacity,
                    "p50_ms": refusals.figures.p50_ms,
                    "p99_ms": refusals.figures.p99_ms,
                    "refused": refusals.figures.refused,
                    "lost": refusals.figures.lost,
                    "admitted_returns": refusals.admitted_returns,
                    "messages_per_s": refusals.messages_per_s,
                }
            )
    _table(rows)
    print(line({"overload": rows}))


def _calibration(options: argparse.Namespace) -> Calibration:
    return Calibration.read(options.costs) if options.costs else TYPICAL


def _table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows that have the same keys."""
    widths = {key: max(len(key), 9) + 2 for key in rows[0]}
    print("\n" + "".join(f"{key:>{width}}" for key, width in widths.items()))
    for row in rows:
        print("".join(f"{_cell(row[key]):>{width}}" for key, width in widths.items()))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)

"""Results as a run would leave them, with figures that are easy to reckon with."""

from __future__ import annotations

from benchmarks.bench.figures import Figures
from benchmarks.bench.plan import (
    BULK,
    CACHED,
    LIKE_CACHED,
    LOADS,
    MIXED,
    NOOP,
    SENTENCES,
    SINGLE,
    open_name,
)
from benchmarks.bench.results import EMBEDDER, INFINITY, INFINITY_ONNX, SERVICE, ST, Cosine, Results


def add(results: Results, contender: str, measurement: str, *rates: float, **rest: float) -> None:
    """Add a round for each rate."""
    for rate in rates:
        figures = Figures(rate, statuses={"200": 10}, **rest)  # type: ignore[arg-type]
        results.row(contender, measurement).rounds.append(figures)


def full() -> Results:
    """Return results in which every target has what it needs, and most are reached."""
    results = Results()
    add(results, ST, SENTENCES, 100.0, 200.0)
    add(results, EMBEDDER, SENTENCES, 300.0, 800.0)
    add(results, EMBEDDER, MIXED, 150.0, 400.0)
    results.row(EMBEDDER, SENTENCES).share += [0.7, 0.8]
    results.row(EMBEDDER, MIXED).share += [0.5, 0.6]
    for loop in SINGLE:
        add(results, INFINITY, loop.name, 50.0, 100.0, p50_ms=20.0)
        add(results, SERVICE, loop.name, 250.0, 500.0, p50_ms=8.0)
    add(results, INFINITY, BULK.name, 60.0, 120.0)
    add(results, INFINITY_ONNX, BULK.name, 50.0, 100.0)
    add(results, SERVICE, BULK.name, 270.0, 720.0, outside_ms=0.3)
    add(results, SERVICE, NOOP, 1000.0, 2000.0)
    add(results, SERVICE, CACHED, 700.0, 1400.0)
    add(results, SERVICE, LIKE_CACHED, 800.0, 1600.0)
    for load in LOADS:
        times = {"p50_ms": 10.0 * load, "p95_ms": 20.0 * load, "p99_ms": 40.0 * load}
        for name in (INFINITY, SERVICE):
            add(results, name, open_name(load), 90.0, offered_per_s=100.0, **times)
    results.cosines[SERVICE] = Cosine(0.99987, 0.99995)
    return results

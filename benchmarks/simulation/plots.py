"""Pictures of the scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.simulation.growth import Size
from benchmarks.simulation.requests import Outcome
from benchmarks.simulation.step import StepResult

mpl.use("Agg")  # without a display

BIN_S = 1.0


def draw_step(result: StepResult, folder: Path) -> Path:
    """Write the queue, the latency, the replicas and the refusals of a step over time."""
    figure = Figure(figsize=(9, 10), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    _backlog(panels[0], result)
    _latency(panels[1], result)
    _replicas(panels[2], result)
    _refusals(panels[3], result)
    panels[3].set_xlabel("seconds")
    for axes in panels:
        axes.grid(visible=True, alpha=0.3)
        axes.set_ylim(bottom=0)
    figure.suptitle(f"load × 1, × {result.step.factor:g}, × 1")
    return _written(figure, folder / "simulation-step.png")


def draw_growth(sizes: Sequence[Size], folder: Path) -> Path:
    """Write answers per second over replicas, beside a straight line."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    replicas = [size.replicas for size in sizes]
    answered = [size.figures.answered_per_s for size in sizes]
    linear = [answered[0] * count / replicas[0] for count in replicas]
    axes.loglog(replicas, linear, "--", color="tab:gray", label="linear")
    axes.loglog(replicas, answered, "o", color="tab:blue", label="simulated")
    axes.set_xlabel("encoder replicas")
    axes.set_ylabel("answers a second")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    return _written(figure, folder / "simulation-growth.png")


def _backlog(axes: Axes, result: StepResult) -> None:
    samples = result.samples
    axes.plot(samples.times_s, samples.backlog_tokens.sum(axis=1), color="tab:blue")
    axes.set_ylabel("tokens that wait\nor run")


def _latency(axes: Axes, result: StepResult) -> None:
    log = result.log
    answered = log.outcome == Outcome.ANSWERED
    seconds = (log.ended_s - log.sent_s)[answered]
    bins = (log.sent_s[answered] / BIN_S).astype(int)
    order = np.argsort(bins, kind="stable")
    edges = np.flatnonzero(np.diff(bins[order], prepend=-1))
    times = bins[order][edges] * BIN_S
    for percent, color in ((50, "tab:blue"), (99, "tab:orange")):
        values = [
            np.percentile(part, percent) * 1000 for part in np.split(seconds[order], edges[1:])
        ]
        axes.plot(times, values, color=color, label=f"p{percent}")
    axes.set_ylabel("latency, ms")
    axes.legend(frameon=False)


def _replicas(axes: Axes, result: StepResult) -> None:
    end_s = 3 * result.step.phase_s
    colors = ("tab:blue", "tab:orange", "tab:green")
    for (stage, history), color in zip(result.histories.items(), colors, strict=False):
        times = [*(at for at, _, _ in history), end_s]
        running = [count for _, count, _ in history]
        targets = [target for _, _, target in history]
        axes.step(times, [*running, running[-1]], where="post", color=color, label=stage)
        axes.step(times, [*targets, targets[-1]], ":", where="post", color=color)
    axes.set_ylabel("replicas\n(dotted: target)")
    axes.legend(frameon=False)


def _refusals(axes: Axes, result: StepResult) -> None:
    end_s = 3 * result.step.phase_s
    bins = np.arange(0.0, end_s + BIN_S, BIN_S)
    log = result.log
    axes.plot(bins[:-1], np.histogram(log.first_sent_s, bins)[0] / BIN_S, label="new requests")
    answered = log.ended_s[log.outcome == Outcome.ANSWERED]
    axes.plot(bins[:-1], np.histogram(answered, bins)[0] / BIN_S, label="answered")
    refused = [(at, count) for at, count in result.refusals if at < end_s]
    times = [at for at, _ in refused]
    counts = np.histogram(times, bins, weights=[count for _, count in refused])[0]
    axes.plot(bins[:-1], counts / BIN_S, label="refused")
    axes.set_ylabel("requests a second")
    axes.legend(frameon=False)


def _written(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path

"""The results as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bench.plan import CLOSED, LOADS, SENTENCES, SINGLE, open_name
from benchmarks.bench.results import EMBEDDER, SERVERS, SERVICE, Results, Row

mpl.use("Agg")  # no display is needed, nor looked for


def draw(results: Results, folder: Path) -> list[Path]:
    """Write a picture of each kind that there is anything to show of, and return where."""
    pictures: dict[str, Callable[[Axes, Results], bool]] = {
        "throughput.png": throughput,
        "latency.png": latency,
        "stages.png": stages,
    }
    written = []
    for name, picture in pictures.items():
        figure = Figure(figsize=(9, 5), layout="constrained")
        if picture(figure.add_subplot(), results):
            figure.savefig(folder / name, dpi=120)
            written.append(folder / name)
    return written


def throughput(axes: Axes, results: Results) -> bool:
    """Draw texts a second by the number of clients; say whether there are any."""
    drawn = False
    for name in SERVERS:
        rows = _rows(results, name, [(loop.clients, loop.name) for loop in SINGLE])
        if rows:
            middle = [row.median("per_s") or 0.0 for _, row in rows]
            rates = [row.each("per_s") for _, row in rows]
            spread = [
                [value - min(rate) for value, rate in zip(middle, rates, strict=True)],
                [max(rate) - value for value, rate in zip(middle, rates, strict=True)],
            ]
            clients = [number for number, _ in rows]
            axes.errorbar(clients, middle, yerr=spread, marker="o", capsize=3, label=name)
            drawn = True
    if drawn and (bare := results.find(EMBEDDER, SENTENCES)) is not None:
        rate = bare.median("per_s") or 0.0
        axes.axhline(rate, linestyle="--", color="grey", label="bare encoder")
    if drawn:
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        _label(axes, "Throughput, one text a request", "clients that wait", "texts/s")
    return drawn


def latency(axes: Axes, results: Results) -> bool:
    """Draw percentiles of the latency by the load of an open loop; say whether there are any."""
    drawn = False
    for name, color in zip(SERVERS, ("tab:blue", "tab:orange", "tab:red"), strict=True):
        rows = _rows(results, name, [(load, open_name(load)) for load in LOADS])
        for figure, style in (("p50_ms", "-"), ("p95_ms", "--"), ("p99_ms", ":")):
            points = [(load, row.median(figure)) for load, row in rows]
            known = [(load, value) for load, value in points if value is not None]
            if known:
                loads, values = zip(*known, strict=True)
                label = f"{name}, {figure[:3]}"
                axes.plot(loads, values, marker="o", linestyle=style, color=color, label=label)
                drawn = True
    if drawn:
        axes.set_yscale("log")
        what = "arrivals, in parts of the server's own best rate"
        _label(axes, "Latency from when a request was due", what, "ms")
    return drawn


def stages(axes: Axes, results: Results) -> bool:
    """Draw the time of the service's answers by stage; return whether the answers have stages."""
    rows = _rows(results, SERVICE, enumerate(loop.name for loop in CLOSED))
    measured = [(row, row.rounds[-1].stages_ms) for _, row in rows]
    bars = [(row.measurement.removeprefix("HTTP, "), parts) for row, parts in measured if parts]
    if not bars:
        return False
    # Each bar sums to one: an answer to 128 clients takes a hundred times that to one.
    below = [0.0] * len(bars)
    names = [f"{name}\n{sum(parts.values()):.1f} ms" for name, parts in bars]
    for stage in bars[0][1]:
        shares = [parts[stage] / sum(parts.values()) for _, parts in bars]
        axes.bar(names, shares, bottom=below, label=stage)
        below = [sum(pair) for pair in zip(below, shares, strict=True)]
    _label(axes, "Where the mean time of an answer goes", "", "share of the client's latency")
    return True


def _rows(
    results: Results, contender: str, places: Iterable[tuple[float, str]]
) -> list[tuple[float, Row]]:
    found = ((number, results.find(contender, name)) for number, name in places)
    return [(number, row) for number, row in found if row is not None]


def _label(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

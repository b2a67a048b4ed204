"""The results as a table for people and as one JSON document. Pure."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.bench.plan import NOOP
from benchmarks.bench.results import Results, Row, median
from benchmarks.bench.targets import Verdict

_HEAD = (
    f"{'':36}{'contender':27}{'per s':>8}{'spread':>14}{'ceiling':>8}{'bare':>6}"
    f"{'p50':>8}{'p95':>8}{'p99':>8}  {'errors':13}{'client':>6}{'late':>7}{'cpu':>7}"
    f"  {'cosine least, mean':19}  targets"
)


def table(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Lay the rows out for people: medians of the rounds, and the spread of the rates.

    ``ceiling`` is the share of the machine's own matrix products, ``bare`` that of the bare
    encoder's rate, ``client`` the load generator's share of a core, ``late`` the p99 of how late it
    sent, in milliseconds as all latencies are, and ``cpu`` the processor time of the service in
    milliseconds a text, without the computation of the model.
    """
    lines, shown = [_HEAD], ""
    for row in results:
        name = "" if row.measurement == shown else row.measurement
        shown = row.measurement
        lines.append(f"{name:36}{row.contender:27}{_cells(row, results, verdicts)}".rstrip())
    return "\n".join(lines)


def document(
    results: Results, verdicts: Sequence[Verdict], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything for JSON; ``run`` has the machine and the options."""
    cosines = {name: asdict(cosine) for name, cosine in results.cosines.items()}
    judged = [
        {
            "contender": verdict.target.contender,
            "measurement": verdict.target.measurement,
            "target": verdict.text.partition(":")[0],
            "value": verdict.value,
            "reached": verdict.reached,
        }
        for verdict in verdicts
    ]
    rows = [asdict(row) for row in results]
    return {**run, "rows": rows, "cosines": cosines, "targets": judged}


def machine(load_before: float) -> dict[str, Any]:
    """Return the facts of this machine, with its load average before the run."""
    return {
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load_before": round(load_before, 1),
    }


def line(document: Mapping[str, Any]) -> str:
    """Return a document as one line of JSON, in which NaN is null."""
    return json.dumps(_finite(document), ensure_ascii=False, allow_nan=False)


def _cells(row: Row, results: Results, verdicts: Sequence[Verdict]) -> str:
    if not row.rounds:
        return f"not measured: {row.reason}"
    rates = row.each("per_s")
    cosine = results.cosines.get(row.contender)
    near = (
        ""
        if cosine is None or row.measurement == NOOP
        else f"{cosine.least:.6f}, {cosine.mean:.6f}"
    )
    errors = " ".join(f"{status}:{count}" for status, count in row.errors.items()) or "0"
    targets = "; ".join(
        verdict.text
        for verdict in verdicts
        if (verdict.target.contender, verdict.target.measurement)
        == (row.contender, row.measurement)
    )
    spread = f"{min(rates):.0f}–{max(rates):.0f}"
    if (offered := row.median("offered_per_s")) is not None:
        spread = f"of {offered:.0f} due"
    stopped = "" if row.reason is None else f" stopped: {row.reason}"
    latencies = (row.median(name) for name in ("p50_ms", "p95_ms", "p99_ms"))
    return (
        f"{_number(median(rates), 8, 1)}{spread:>14}"
        f"{_number(median(row.share), 8, 2)}{_number(median(row.of_bare), 6, 2)}"
        f"{''.join(_number(value, 8, 1) for value in latencies)}  {errors:13}"
        f"{_number(row.median('client_cpu'), 6, 2)}"
        f"{_number(row.median('client_late_p99_ms'), 7, 1)}"
        f"{_number(row.median('outside_ms'), 7, 3)}  {near:19}  {targets}{stopped}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'' if value is None else format(value, f'.{digits}f'):>{width}}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value

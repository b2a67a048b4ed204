"""All axes, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scaling.encoder_axes import batch, length
from benchmarks.scaling.index_axis import size
from benchmarks.scaling.options import Options
from benchmarks.scaling.replicas_axis import replicas
from benchmarks.scaling.rounds import Report
from benchmarks.scaling.series import Series
from benchmarks.scaling.service_axes import concurrency, hits


@dataclass(frozen=True, slots=True)
class Axis:
    """The quantity that grows, ``across``; its cost, ``up``; and the measurement.

    With ``doublings`` a plot has the same distance between each x and its double, and so for what
    was measured.
    """

    name: str
    title: str
    across: str
    up: str
    measure: Callable[[Options, Report], list[Series]]
    doublings: bool = True


_ALL = (
    Axis(
        "length",
        "One input, encoded in process by one thread",
        "tokens of an input",
        "ms an input",
        length,
    ),
    Axis(
        "batch",
        "One batch of 20-token inputs, encoded in process by one thread",
        "inputs of a batch",
        "ms a batch",
        batch,
    ),
    Axis(
        "concurrency",
        "HTTP, one new text a request",
        "clients that wait",
        "texts/s",
        concurrency,
    ),
    Axis(
        "replicas",
        "HTTP, 32 new texts a request",
        "replicas of the encoder",
        "texts/s",
        replicas,
        doublings=False,
    ),
    Axis(
        "hits",
        "HTTP, one text a request, 32 clients",
        "share of texts sent before",
        "texts/s",
        hits,
        doublings=False,
    ),
    Axis(
        "size",
        "A collection in process, one query a call",
        "points of the collection",
        "queries/s",
        size,
    ),
)

AXES = {axis.name: axis for axis in _ALL}

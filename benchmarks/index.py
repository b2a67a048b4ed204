"""The vector index beside bare FAISS, in one process: searches, writes, restarts, in one table.

``python -m benchmarks.index`` fills a flat and an HNSW collection with clustered vectors (100,000
of 384 components; ``--points 1000000`` is the official size, and builds its graph for a quarter of
an hour) in a directory on the disk that is measured. Bare FAISS searches the very same index in
turn, by one thread as ours does. With ``--mnist DIR``, which holds the images and the exact
neighbours of `mnist-gt100.ivecs`, only the recall of every kind is measured. Ends with status 1
where a line misses its target. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.index_loads import (
    Contenders,
    clustered,
    merge_all,
    percentile,
    upsert_all,
    while_writing,
)
from benchmarks.index_mnist import recalls
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

ROUNDS = 7
SWITCH_INTERVAL_S = 0.0005
"""How long a thread that writes may keep the interpreter from one that searches; Python's own is
ten times that, and shows in the slowest searches."""
TOP = 10
BATCH = 32
WRITE_BATCH = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One figure and its bound."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ok(self) -> bool:
        """Return whether the target is met; without one it is."""
        high_enough = self.at_least is None or self.value >= self.at_least
        return high_enough and (self.at_most is None or self.value <= self.at_most)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.index", description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--build-threads", type=int, default=2)
    parser.add_argument("--write-rate", type=int, default=2_000, help="vectors/s beside searches")
    parser.add_argument("--directory", type=Path, help="on the disk that is measured")
    parser.add_argument("--mnist", type=Path, help="directory of the MNIST files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder, _quick_switching():
        if options.mnist is not None:
            found = recalls(options.mnist, Path(folder))
            lines = [Line(f"recall@10 {kind}", value, "", least) for kind, value, least in found]
        else:
            lines = _synthetic(options, Path(folder))
    print(table(lines))
    print(json.dumps([asdict(line) | {"ok": line.ok} for line in lines]))
    return 0 if all(line.ok for line in lines) else 1


def table(lines: Sequence[Line]) -> str:
    """Lay the lines out for people."""
    rows = [f"{'':44}{'value':>12} {'unit':10}{'target':>12}"]
    for line in lines:
        target = f">= {line.at_least:,g}" if line.at_least is not None else ""
        target = f"<= {line.at_most:,g}" if line.at_most is not None else target
        missed = "" if line.ok else "  MISSED"
        rows.append(f"{line.name:44}{line.value:12,.3f} {line.unit:10}{target:>12}{missed}")
    return "\n".join(rows)


def ratio(
    ours: Callable[[], object], theirs: Callable[[], object], clock: Callable[[], float]
) -> float:
    """Return how fast ours is as a share of theirs: the best of several rounds each, in turns.

    The best, because other work of the machine only makes a round slower.
    """
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        begun = clock()
        ours()
        between = clock()
        theirs()
        times.append((between - begun, clock() - between))
    return min(one for _, one in times) / min(one for one, _ in times)


@contextmanager
def _quick_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _synthetic(options: argparse.Namespace, folder: Path) -> list[Line]:
    settings = IndexSettings(directory=str(folder), build_threads=options.build_threads)
    rows = clustered(options.points, options.width, 1)
    queries = clustered(options.queries, options.width, 2)
    lines: list[Line] = []
    for kind in (IndexKind.FLAT, IndexKind.HNSW):
        index = VectorIndex(settings, background=False)
        index.create(kind.value, Spec(kind=kind))
        rate = upsert_all(index, kind.value, rows, WRITE_BATCH)
        if kind is IndexKind.FLAT:
            lines.append(Line("durable upserts, one writer", rate, "vectors/s", at_least=20_000))
        begun = time.perf_counter()
        merge_all(index, kind.value)
        lines.append(Line(f"{kind.value}: merging", time.perf_counter() - begun, "s"))
        index.run_maintenance()
        lines += _searches(index, kind, queries)
        index.close()
        if kind is IndexKind.FLAT:
            lines.append(_restart(settings, "flat", at_most=5))
    lines.append(_restart(settings, "flat and hnsw"))
    index = VectorIndex(settings)
    lines += _compared(index, queries)
    lines += _beside_writes(index, queries, options.write_rate)
    index.close()
    return lines


def _restart(settings: IndexSettings, what: str, at_most: float | None = None) -> Line:
    index = VectorIndex(settings, background=False)
    seconds = index.stats().recovery.seconds
    index.close()
    return Line(f"restart with {what}", seconds, "s", at_most=at_most)


def _searches(index: VectorIndex, kind: IndexKind, queries: Vectors) -> list[Line]:
    contenders = Contenders(index, kind.value, TOP)
    lines = []
    for size in (1, BATCH):
        asked = [queries[start : start + size] for start in range(0, len(queries), size)]
        share = ratio(
            lambda asked=asked: [contenders.ours(one) for one in asked],  # type: ignore[misc] # binds what the loop changes
            lambda asked=asked: [contenders.bare(one) for one in asked],  # type: ignore[misc]
            time.perf_counter,
        )
        name = f"{kind.value}: ours / bare FAISS, {size} a call"
        lines.append(Line(name, share, "", at_least=0.9))
    return lines


def _compared(index: VectorIndex, queries: Vectors) -> list[Line]:
    flat, hnsw = (Contenders(index, kind, TOP) for kind in ("flat", "hnsw"))
    found = [{hit.id for hit in hits} for hits in hnsw.ours(queries)]
    exact = [{hit.id for hit in hits} for hits in flat.ours(queries)]
    recall = np.mean([len(a & b) / TOP for a, b in zip(found, exact, strict=True)])
    share = ratio(
        lambda: [hnsw.ours(query[None]) for query in queries],
        lambda: [flat.ours(query[None]) for query in queries],
        time.perf_counter,
    )
    return [
        Line("hnsw: recall@10", float(recall), "", at_least=0.98),
        Line("hnsw / flat, 1 a call", share, "times", at_least=20),
    ]


def _beside_writes(index: VectorIndex, queries: Vectors, rate: int) -> list[Line]:
    hnsw = Contenders(index, "hnsw", TOP)

    def times() -> list[float]:
        taken = []
        for query in np.tile(queries, (10, 1)):
            begun = time.perf_counter()
            hnsw.ours(query[None])
            taken.append(time.perf_counter() - begun)
        return taken

    times()
    rest = percentile(times(), 99)
    with while_writing(index, "hnsw", queries.shape[1], rate):
        busy = percentile(times(), 99)
    return [
        Line("hnsw: p99 at rest", 1000 * rest, "ms"),
        Line(f"hnsw: p99 beside {rate:,} upserts/s", 1000 * busy, "ms"),
        Line("hnsw: p99 beside upserts / at rest", busy / rest, "times", at_most=2),
    ]


if __name__ == "__main__":
    sys.exit(main())

"""The index beside bare FAISS, hnswlib, usearch and pgvector: one table of several kinds.

``python -m benchmarks.ann FOLDER --vectors FILE`` splits the rows of a file of
`benchmarks.sentences` into points and queries, or makes clustered ones (``--points``), and keeps
them in the folder. Each contender builds its index in a process of its own and saves it there; a
build that the folder has is not repeated. Then each one loads its index, and all are asked in
turns, a round each, with one thread: one query a call and 32 a call. A ratio is that of one round
to bare FAISS; the table has medians. Every graph has M 32, efConstruction 100 and efSearch 64.

Seconds of a build are those of all its processors, because other work makes the clock wrong; those
of pgvector are of the clock, because its server works. The memory is what the process allocates
while it loads its index: ours with ids and versions, and for pgvector what its table takes.

``make ann`` installs the libraries. pgvector needs ``--pgvector URL`` of an empty database with
that extension. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ann.own_worker import CONTENDERS, URL
from benchmarks.index_loads import clustered
from benchmarks.peers.ann import TOP
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import approximate_scores

ROOT = Path(__file__).parents[2]
PEER_PYTHON = ROOT / ".venv-bench/ann/bin/python"
PEERS = ("hnswlib", "usearch")
SIZES = (1, 32)
ASKED = 64
"""Queries that are compared with all points at once."""
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing, measure, print the table and return the exit status."""
    options = _options(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.pgvector is not None:
        os.environ[URL] = options.pgvector
    prepare(options)
    rows = {name: build(name, options.folder) for name in options.contenders}
    if not options.build_only:
        measure(rows, options.folder, options.rounds)
        print(table(rows))
    print(json.dumps(rows))
    return 0


def prepare(options: argparse.Namespace) -> None:
    """Write points, queries and the exact neighbours of the queries, unless the folder has them."""
    folder: Path = options.folder
    if (folder / "nearest.npy").exists():
        return
    if options.vectors is None:
        points = clustered(options.points, options.width, 1)
        queries = clustered(options.queries, options.width, 2)
    else:
        given = np.load(options.vectors, mmap_mode="r")
        points, queries = given[: -options.queries], given[-options.queries :]
    points, queries = normalize_rows(points), normalize_rows(queries)
    np.save(folder / "points.npy", points)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "nearest.npy", nearest(points, queries))


def nearest(points: Vectors, queries: Vectors) -> NDArray[np.int64]:
    """Return the numbers of the `TOP` points nearest to each query, by comparing all."""
    found = [
        approximate_scores(Metric.COSINE, queries[start : start + ASKED], points)
        for start in range(0, len(queries), ASKED)
    ]
    best = [np.argpartition(-scores, TOP, axis=1)[:, :TOP] for scores in found]
    return np.concatenate(best)


def build(name: str, folder: Path) -> Row:
    """Return what a build of a contender took; build it now if the folder has none."""
    report = folder / f"{name}.json"
    if not report.exists():
        built = subprocess.run(_command("build", name, folder), stdout=subprocess.PIPE, check=True)
        report.write_bytes(built.stdout)
    row: Row = json.loads(report.read_text())
    return row


def measure(rows: dict[str, Row], folder: Path, rounds: int) -> None:
    """Add to each row the memory, the recall, and microseconds a query by the size of a call."""
    right = np.load(folder / "nearest.npy")
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name, folder)) for name in rows}
        for name, worker in workers.items():
            rows[name] |= json.loads(_line(worker))
            found = _ask(worker, {})["found"]
            pairs = zip(found, right.tolist(), strict=True)
            rows[name]["recall"] = statistics.mean(len({*a} & {*b}) / TOP for a, b in pairs)
            rows[name]["us"] = {size: [] for size in SIZES}
        for size in SIZES:
            for _ in range(rounds):
                for name, worker in workers.items():
                    rows[name]["us"][size].append(_ask(worker, {"size": size})["us"])


def table(rows: dict[str, Row]) -> str:
    """Lay the rows out for people."""
    lines = [
        f"{'':16}{'build, s':>10}{'MB':>8}{'recall':>8}"
        + "".join(f"{f'queries/s, {size} a call':>24}{'to FAISS':>22}" for size in SIZES)
    ]
    for name, row in rows.items():
        seconds = row["build_s"] if name == "pgvector" else row["cpu_s"]
        line = f"{name:16}{seconds:10.0f}{row['bytes'] / 1e6:8.0f}{row['recall']:8.3f}"
        for size in SIZES:
            line += f"{1e6 / statistics.median(row['us'][size]):24.0f}"
            line += f"{_ratios(rows, name, size):>22}"
        lines.append(line)
    return "\n".join(lines)


def _ratios(rows: dict[str, Row], name: str, size: int) -> str:
    if "faiss" not in rows:
        return ""
    pairs = zip(rows["faiss"]["us"][size], rows[name]["us"][size], strict=True)
    ratios = sorted(bare / one for bare, one in pairs)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.ann", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the points and the built indexes")
    parser.add_argument("--vectors", type=Path, help="rows float32[n, d], the last are the queries")
    parser.add_argument("--points", type=int, default=200_000, help="clustered ones (200,000)")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    names = (*CONTENDERS, *PEERS)
    parser.add_argument("--contenders", nargs="*", choices=names, default=("ours-hnsw", "faiss"))
    parser.add_argument("--pgvector", help="the URL of an empty database with pgvector")
    parser.add_argument("--build-only", action="store_true", help="measure no search")
    return parser.parse_args(arguments)


def _command(action: str, name: str, folder: Path) -> list[str]:
    if name in PEERS:
        program = [str(PEER_PYTHON), str(ROOT / "benchmarks/peers/ann.py")]
    else:
        program = [sys.executable, "-m", "benchmarks.ann.own_worker"]
    return [*program, action, name, str(folder.resolve())]


def _worker(name: str, folder: Path) -> subprocess.Popen[str]:
    command = _command("serve", name, folder)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def _ask(worker: subprocess.Popen[str], question: dict[str, int]) -> dict[str, Any]:
    assert worker.stdin is not None
    print(json.dumps(question), file=worker.stdin, flush=True)
    answer: dict[str, Any] = json.loads(_line(worker))
    return answer


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"{worker.args!r} has ended with {worker.wait()}")
    return line


if __name__ == "__main__":
    sys.exit(main())

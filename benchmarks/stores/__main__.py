"""The index with SQLite and with PostgreSQL beside bare FAISS and pgvector, in one run.

``python -m benchmarks.stores`` stores the same points with each, 50,000 of 384 components in
batches of 100, builds the index, and searches for the ten nearest of all points and of those that a
filter keeps by chance, one query at a time. The contenders alternate, a round each, since the speed
of a shared machine drifts; a ratio is that of two medians of one round. Then each takes more
points, beside its index.

``--postgres`` is the URL of a server, whose role may create databases; one of its own is started
where PostgreSQL is installed. ``--pgvector`` is the URL of a server that has pgvector, and whose
role may also create extensions; without it, pgvector is left out. Any of these starts one:

    apt-get install postgresql-17-pgvector      # Debian 13; from apt.postgresql.org for Debian 12
    docker run -e POSTGRES_PASSWORD=… -p 5432:5432 --shm-size 1g pgvector/pgvector:pg17

The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from benchmarks.index_loads import clustered
from benchmarks.stores.contenders import BareFaiss, Contender, OwnIndex
from benchmarks.stores.databases import empty_database, server
from benchmarks.stores.figures import Figures, Searches, table
from benchmarks.stores.pgvector import Pgvector
from benchmarks.stores.points import Points
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

KINDS = (IndexKind.FLAT, IndexKind.HNSW)
SHARES = {"all": None, "50 %": 0.5, "5 %": 0.05}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    before = os.getloadavg()[0]
    given = (
        clustered(options.points + options.more + options.queries, options.width, 1)
        if options.vectors is None
        else np.load(options.vectors).astype(np.float32)
    )
    options.width = given.shape[1]
    points, queries = Points.of(given[: -options.queries]), given[-options.queries :]
    if len(points) <= options.more:
        sys.exit(f"{len(points):,} points are too few: --more takes {options.more:,} of them")
    with ExitStack() as stack:
        contenders = list(_contenders(stack, options))
        figures = measure(contenders, points, queries, options.more, options.rounds)
    print(f"{len(points) - options.more:,} points of {points.vectors.shape[1]} components")
    print(table(figures))
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    print(json.dumps({"load": load, "figures": [one.document() for one in figures]}))
    return 0


def measure(
    contenders: Sequence[Contender], points: Points, queries: Vectors, more: int, rounds: int
) -> list[Figures]:
    """Store all points but the last ``more``, search, and store those as well."""
    stored, later = points.part(0, len(points) - more), points.part(len(points) - more, len(points))
    figures = [Figures(one.name, one.kind) for one in contenders]
    for one, found in zip(contenders, figures, strict=True):
        found.loaded_per_s = _upserted_per_s(one, stored)
        begun = time.perf_counter()
        one.build()
        found.build_s = time.perf_counter() - begun
        _say(f"{one.name}, {one.kind.value}: built in {found.build_s:.1f} s")
    for name, share in SHARES.items():
        below = None if share is None else int(share * len(points))
        expected = stored.nearest(queries, below)
        for number in range(rounds + 1):
            for one, found in zip(contenders, figures, strict=True):
                searches = found.searches.setdefault(name, Searches())
                _search(one, queries, below, expected, searches)
                if not number:  # the first round warms up
                    searches.rounds.clear()
            _say(f"{name}, round {number}")
    for one, found in zip(contenders, figures, strict=True):
        found.upserted_per_s = _upserted_per_s(one, later)
    return figures


def _upserted_per_s(contender: Contender, points: Points) -> float | None:
    batches = list(points.batches())
    begun = time.perf_counter()
    for batch in batches:
        contender.upsert(batch)
    spent = time.perf_counter() - begun
    return len(points) / spent if contender.keeps else None


def _search(
    contender: Contender,
    queries: Vectors,
    below: int | None,
    expected: Sequence[set[int]],
    searches: Searches,
) -> None:
    """Search once for each query, and add the round."""
    taken, right = [], 0.0
    for query, nearest in zip(queries, expected, strict=True):
        begun = time.perf_counter()
        found = contender.search(query, below)
        taken.append(1000 * (time.perf_counter() - begun))
        right += len(nearest & {*found}) / len(nearest)
    searches.rounds.append(taken)
    searches.recall = right / len(queries)


def _contenders(stack: ExitStack, options: argparse.Namespace) -> Iterator[Contender]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
    settings = IndexSettings(directory=str(folder / "sqlite"), build_threads=options.build_threads)
    stores = {"SQLite": settings}
    url = stack.enter_context(server(options.postgres))
    if url is None:
        _say("PostgreSQL is left out: it is not installed, and no --postgres is given")
    else:
        secret = SecretStr(stack.enter_context(empty_database(url)))
        kept = {"directory": str(folder / "postgres"), "url": secret}
        stores["PostgreSQL"] = settings.model_copy(update=kept)
    for name, chosen in stores.items():
        index = VectorIndex(chosen, background=False)
        stack.callback(index.close)
        for kind in KINDS:
            yield OwnIndex(name, kind, index)
    for kind in KINDS:
        yield BareFaiss(kind, options.width, settings)
    if options.pgvector is None:
        _say("pgvector is left out: no --pgvector is given")
        return
    for kind in KINDS:
        database = stack.enter_context(empty_database(options.pgvector))
        table = Pgvector(database, kind, options.width, settings)
        stack.callback(table.close)
        yield table


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.stores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--more", type=int, default=2_000, help="points upserted at the end")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vectors", type=Path, help="an array of NumPy in place of made-up ones")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--build-threads", type=int, default=1)
    parser.add_argument("--postgres", help="the URL of a server of PostgreSQL")
    parser.add_argument("--pgvector", help="the URL of a server of PostgreSQL that has pgvector")
    parser.add_argument("--directory", type=Path, help="on the disk that is measured")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

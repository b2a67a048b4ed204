"""An index of nearest neighbours in a process of its own, built once and then asked in lines.

The peer's own Python runs it, so it imports nothing of this project. ``build NAME FOLDER`` builds
the index of ``FOLDER/points.npy``, float32[n, d] of unit length, saves it in the folder and prints
what that took. ``serve NAME FOLDER`` loads it, prints the memory that it takes, and answers lines
of JSON about the queries of ``FOLDER/queries.npy``: ``{"size": 32}`` searches them so many a call,
and answers with microseconds a query, and ``{}`` with the numbers of the points that are found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

TOP = 10
M, EF_CONSTRUCTION, EF_SEARCH = 32, 100, 64
"""Of all graphs: neighbours of a node, and candidates of a build and of a search."""
BUILD_THREADS = 2


class Contender(Protocol):
    """An index of one kind; it searches with one thread."""

    def build(self, points: Any, folder: Path) -> None:
        """Build the index of float32[n, d], and save it."""

    def load(self, folder: Path, width: int) -> None:
        """Load the index."""

    def search(self, queries: Any) -> Any:
        """Return the numbers of the `TOP` nearest points of each query float32[q, d]."""


class Hnswlib:
    """A graph of hnswlib; an inner product of unit vectors."""

    def build(self, points: Any, folder: Path) -> None:
        """Build the index of float32[n, d], and save it."""
        import hnswlib

        index = hnswlib.Index("ip", points.shape[1])
        index.init_index(len(points), M=M, ef_construction=EF_CONSTRUCTION)
        index.add_items(points, num_threads=BUILD_THREADS)
        index.save_index(str(folder / "hnswlib"))

    def load(self, folder: Path, width: int) -> None:
        """Load the index."""
        import hnswlib

        self._index: Any = hnswlib.Index("ip", width)
        self._index.load_index(str(folder / "hnswlib"))
        self._index.set_ef(EF_SEARCH)

    def search(self, queries: Any) -> Any:
        """Return the numbers of the nearest points."""
        return self._index.knn_query(queries, k=TOP, num_threads=1)[0]


class Usearch:
    """A graph of usearch in float32; an inner product of unit vectors."""

    @staticmethod
    def _empty(width: int) -> Any:
        from usearch.index import Index

        return Index(
            ndim=width,
            metric="ip",
            dtype="f32",
            connectivity=M,
            expansion_add=EF_CONSTRUCTION,
            expansion_search=EF_SEARCH,
        )

    def build(self, points: Any, folder: Path) -> None:
        """Build the index of float32[n, d], and save it."""
        index = self._empty(points.shape[1])
        index.add(np.arange(len(points)), points, threads=BUILD_THREADS)
        index.save(str(folder / "usearch"))

    def load(self, folder: Path, width: int) -> None:
        """Load the index."""
        self._index = self._empty(width)
        self._index.load(str(folder / "usearch"))

    def search(self, queries: Any) -> Any:
        """Return the numbers of the nearest points."""
        return self._index.search(queries, TOP, threads=1).keys.reshape(len(queries), TOP)


def run(contenders: Mapping[str, Callable[[], Contender]], versions: Mapping[str, str]) -> None:
    """Do what the arguments say with one of the contenders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("build", "serve"))
    parser.add_argument("name", choices=tuple(contenders))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    # Libraries print: what they say must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = contenders[options.name]()
    if options.action == "build":
        about = {"version": versions.get(options.name, ""), **built(contender, options.folder)}
        print(json.dumps(about), file=answers, flush=True)
        return
    queries = np.load(options.folder / "queries.npy")
    before = private_bytes()
    contender.load(options.folder, queries.shape[1])
    contender.search(queries[:1])
    print(json.dumps({"bytes": private_bytes() - before}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(contender, queries, json.loads(line))), file=answers, flush=True)


def built(contender: Contender, folder: Path) -> dict[str, float]:
    """Build and save an index; return the seconds, also of all processors, that it took."""
    points = np.load(folder / "points.npy", mmap_mode="r")
    began, used = time.perf_counter(), time.process_time()
    contender.build(points, folder)
    return {"build_s": time.perf_counter() - began, "cpu_s": time.process_time() - used}


def answer(contender: Contender, queries: Any, question: dict[str, int]) -> dict[str, Any]:
    """Return how long the queries take, or what they find."""
    if "size" not in question:
        return {"found": np.asarray(contender.search(queries), np.int64).tolist()}
    asked = [
        queries[start : start + question["size"]]
        for start in range(0, len(queries), question["size"])
    ]
    began = time.perf_counter()
    for some in asked:
        contender.search(some)
    return {"us": 1e6 * (time.perf_counter() - began) / len(queries)}


def private_bytes() -> int:
    """Return the resident memory of this process that is no file's."""
    status = Path("/proc/self/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    from importlib.metadata import version

    name = sys.argv[2] if len(sys.argv) > 2 else ""
    run({"hnswlib": Hnswlib, "usearch": Usearch}, {name: version(name)} if name else {})
